"""The search finds the largest size that passes, in few rounds, and loss does not fool it."""

from hypothesis import given
from hypothesis import strategies as st

from edgenode.paths.search import AT_ONCE, PADDING, Search


def run(search: Search, limit: int) -> tuple[Search, int]:
    rounds = 0
    while not search.over:
        sizes = search.sizes()
        assert 0 < len(sizes) <= AT_ONCE
        assert list(sizes) == sorted(set(sizes))
        assert all(search.least <= size <= search.largest for size in sizes)
        search = search.after([size for size in sizes if size <= limit])
        rounds += 1
    return search, rounds


@given(st.integers(576, 1280), st.integers(1280, 9000), st.integers(0, 10000))
def test_it_finds_what_passes(least: int, largest: int, limit: int) -> None:
    search, rounds = run(Search.begin(least, largest), limit)
    assert rounds <= 4
    if limit < least:
        assert search.passes is None
        assert rounds == 1
    elif limit >= largest:
        assert search.passes == largest
        assert rounds == 1
    else:
        assert search.passes is not None
        assert search.passes <= limit < search.passes + PADDING


def test_a_usual_tunnel_takes_two_rounds() -> None:
    assert run(Search.begin(576, 1420), 1380) == (Search(1376, 1392, 576, 1420), 2)


@given(st.integers(576, 1420), st.sets(st.integers(0, 200)))
def test_what_is_lost_by_chance_only_makes_it_smaller(limit: int, losses: set[int]) -> None:
    search, tried = Search.begin(576, 1420), 0
    while not search.over:
        answered = []
        for size in search.sizes():
            tried += 1
            if size <= limit and tried not in losses:
                answered.append(size)
        search = search.after(answered)
    assert search.passes is None or search.passes <= limit


def test_a_size_below_one_that_was_answered_passes() -> None:
    search = Search.begin(576, 1420)
    first, *_, last = search.sizes()
    assert (first, last) == (576, 1420)
    assert search.after([last]).over
    assert search.after([last]).passes == 1420
