from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.longlived import MOST, LongLived


@given(st.integers(1, 300), st.lists(st.floats(0.2, 2.5), min_size=200, max_size=200))
def test_each_comes_up_once_in_a_while_and_not_all_at_once(count: int, steps: list[float]) -> None:
    every = 30.0
    long, now = LongLived(every), 1000.0
    seen: dict[int, list[float]] = {number: [] for number in range(count)}
    for step in steps:
        now += step
        due = long.due(seen, now)
        assert len(due) <= count * (step + 2.5) / every + 1
        for number in due:
            seen[number].append(now)
    for times in seen.values():
        assert len(times) >= int((now - 1000.0) / (every + 2.5)) - 1
        for one, other in pairwise(times):
            assert every / 2 < other - one < 2 * every


def test_where_they_are_too_many_they_come_later_and_all_of_them() -> None:
    long = LongLived(1.0)
    seen: set[int] = set()
    everybody = range(10 * MOST)
    for second in range(13):
        due = long.due(everybody, float(second))
        assert len(due) <= MOST
        assert not seen & set(due)
        seen.update(due)
        if len(seen) == len(everybody):
            return
    raise AssertionError(f"{len(seen)} in 13 rounds")


def test_it_may_be_off() -> None:
    long = LongLived(0.0)
    assert [long.due([1, 2, 3], 10.0 * at) for at in range(100)] == [[]] * 100
