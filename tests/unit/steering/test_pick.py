"""Spread by weights, limits, slow starts."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.pick import SMALLEST_SHARE, Nobody, Pool, Room, share
from edgenode.steering.table import RegionTargets, Target

REGION_COLUMN = 1000


def pool(
    *targets: tuple[int, int | None, int | None],
    soft: int | None = None,
    hard: int | None = None,
) -> Pool:
    """Workers of these weights, soft and hard limits; nobody is left alone."""
    workers = tuple(
        Target(f"w{at}", "198.51.100.1", 80, *target) for at, target in enumerate(targets)
    )
    region = RegionTargets("fra", workers, soft, hard)
    made = Pool(("web", "fra"), region, REGION_COLUMN, tuple(range(len(workers))))
    made.arrange(None, (), False, float("inf"))
    return made


limits = st.tuples(st.integers(1, 9), st.integers(0, 9)).map(lambda two: (two[0], sum(two)))
targets = st.tuples(st.integers(1, 1000), limits).map(lambda one: (one[0], *one[1]))


@given(
    st.lists(st.tuples(targets, st.integers(0, 20), st.booleans(), st.booleans()), max_size=8),
    st.sampled_from(list(Room)),
    st.randoms(use_true_random=False),
)
def test_laws_of_one_pick(
    workers: list[tuple[tuple[int, int, int], int, bool, bool]], room: Room, random: Random
) -> None:
    """Who has room, is not left alone and was not tried gets it; nobody only if there is none."""
    made = pool(*(target for target, _, _, _ in workers))
    live = Counter({at: count for at, (_, count, _, _) in enumerate(workers)})
    tried = tuple(f"w{at}" for at, one in enumerate(workers) if one[2])
    out = {f"w{at}" for at, one in enumerate(workers) if one[3]}
    made.arrange(None, out, False, float("inf"))
    usable = {
        at
        for at, (_, _, was_tried, is_out) in enumerate(workers)
        if not was_tried and (room is Room.EJECTED or not is_out)
    }
    limit = 1 if room is Room.SOFT else 2
    good = {at for at in usable if live[at] < workers[at][0][limit]}
    found = made.pick(room, tried, live.__getitem__, random.random, 0.0)
    if good:
        assert found in good
    else:
        assert found is (Nobody.FULL if usable else Nobody.UNTRIED)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 10))
def test_limits_of_the_region(soft: int, more: int, count: int) -> None:
    made = pool((1, None, None), soft=soft + 1, hard=soft + 1 + more)
    live = Counter({REGION_COLUMN: count})
    for room, most in ((Room.SOFT, soft + 1), (Room.HARD, soft + 1 + more)):
        found = made.pick(room, (), live.__getitem__, Random(1).random, 0.0)
        assert found == (0 if count < most else Nobody.FULL)


@pytest.mark.parametrize(
    "weights", [(1,) * 10, (1, 2, 3, 4, 5) * 4, (1000, *[1] * 50), (1, 1000), (7,)], ids=str
)
@pytest.mark.parametrize("lasting", [0, 300], ids=["short", "long"])
def test_the_spread_follows_the_weights(weights: tuple[int, ...], lasting: int) -> None:
    """Of 10,000 connections, of which so many are open at a time."""
    made, random = pool(*((weight, None, None) for weight in weights)), Random(7)
    live: Counter[int] = Counter()
    counts: Counter[int] = Counter()
    open_now: list[int] = []
    for number in range(10_000):
        found = made.pick(Room.SOFT, (), live.__getitem__, random.random, float(number))
        assert isinstance(found, int)
        counts[found] += 1
        live[found] += 1
        open_now.append(found)
        if len(open_now) > lasting:
            live[open_now.pop(random.randrange(len(open_now)))] -= 1
    for at, weight in enumerate(weights):
        due = 10_000 * weight / sum(weights)
        assert abs(counts[at] - due) < 0.25 * due + 4 * due**0.5 + 2


def test_a_worker_that_hangs_on_to_its_connections_gets_fewer() -> None:
    made, random = pool(*[(1, None, None)] * 4), Random(1)
    live = Counter({0: 50, 1: 5, 2: 5, 3: 5})
    picks = Counter(
        made.pick(Room.SOFT, (), live.__getitem__, random.random, 0.0) for _ in range(1000)
    )
    assert picks[0] < 120  # it is picked where chance names it twice


@given(st.floats(0, 1000), st.floats(0.1, 1000))
def test_the_share_grows_with_time(since_up: float, slow_start: float) -> None:
    found = share(slow_start, since_up)
    assert SMALLEST_SHARE <= found <= 1.0
    assert found <= share(slow_start, since_up + 1.0)
    assert share(slow_start, slow_start) == 1.0
    assert share(0.0, 0.0) == 1.0


def test_a_full_region_costs_little_until_a_place_is_free() -> None:
    made, asked = pool(*[(1, 1, 1)] * 100), 0

    def live(column: int) -> int:
        nonlocal asked
        asked += 1
        return counts[column]

    counts = [1] * 100
    assert made.pick(Room.SOFT, (), live, Random(1).random, 0.0) is Nobody.FULL
    asked = 0
    assert made.pick(Room.SOFT, (), live, Random(1).random, 0.01) is Nobody.FULL
    assert asked == 0
    # The place that this relay has left is found at once, one that another left in a moment.
    counts[42] = 0
    made.freed(42)
    assert made.pick(Room.SOFT, (), live, Random(1).random, 0.02) == 42
    assert asked < 10
    counts[42], counts[43] = 1, 0
    assert made.pick(Room.SOFT, (), live, Random(1).random, 1.0) == 43
