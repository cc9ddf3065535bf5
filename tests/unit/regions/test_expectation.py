"""The chances of workers, against what a relay's picking comes to."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenode.regions.expectation import Expectation, LeftAlone, Room, expect, shares
from edgenode.steering.table import RegionTargets, Service, Target

NOW = 2000.0


def service(*regions: RegionTargets, slow_start: float = 0.0) -> Service:
    return Service("web", ("203.0.113.1:80",), "v2", 1.0, 60.0, regions, slow_start)


def worker(
    name: str,
    weight: int = 1,
    soft: int | None = None,
    hard: int | None = None,
    since: float = 0.0,
) -> Target:
    return Target(name, "198.51.100.1", 80, weight, soft, hard, since)


FRA = RegionTargets("fra", (worker("f1", soft=10, hard=12), worker("f2", soft=10, hard=12)))
IAD = RegionTargets("iad", (worker("i1", hard=5),))


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(0, 50)), min_size=1, max_size=30))
def test_shares_are_a_distribution(workers: list[tuple[int, int]]) -> None:
    weights = [float(weight) for weight, _ in workers]
    found = shares(weights, [count for _, count in workers])
    assert sum(found) == pytest.approx(1)
    assert all(share >= 0 for share in found)


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=2, max_size=6),
    st.integers(0, 2**32),
)
def test_shares_are_what_drawing_comes_to(workers: list[tuple[int, int]], seed: int) -> None:
    rng = random.Random(seed)
    places = range(len(workers))
    weights = [float(weight) for weight, _ in workers]
    loads = [(count + 1) / weight for weight, count in workers]
    taken: Counter[int] = Counter()
    draws = 20_000
    for _ in range(draws):
        one = rng.choices(places, weights)[0]
        rest = [i for i in places if i != one]
        other = rng.choices(rest, [weights[i] for i in rest])[0]
        taken[other if loads[other] < loads[one] else one] += 1
    for i, share in enumerate(shares(weights, [count for _, count in workers])):
        assert taken[i] / draws == pytest.approx(share, abs=0.02)


def test_the_nearest_region_until_its_soft_limits() -> None:
    web = service(FRA, IAD)
    assert expect(web, {}, (), NOW) == Expectation("fra", Room.SOFT, {"f1": 0.5, "f2": 0.5})
    busy = {("fra", "f1"): 10}
    assert expect(web, busy, (), NOW) == Expectation("fra", Room.SOFT, {"f2": 1.0})
    spilled = busy | {("fra", "f2"): 10}
    assert expect(web, spilled, (), NOW).region == "iad"


def test_the_soft_limits_do_not_count_where_nobody_is_below_them() -> None:
    web = service(FRA, IAD)
    live = {("fra", "f1"): 10, ("fra", "f2"): 11, ("iad", "i1"): 5}
    assert expect(web, live, (), NOW) == Expectation("fra", Room.HARD, {"f1": 1.0, "f2": 0.0})
    assert expect(web, live | dict.fromkeys(live, 12), (), NOW) == Expectation()


def test_a_region_has_limits_of_its_own() -> None:
    small = RegionTargets("fra", FRA.workers, soft_limit=3, hard_limit=4)
    live = {("fra", "gone"): 2, ("fra", "f1"): 1}
    assert expect(service(small, IAD), live, (), NOW).region == "iad"
    assert expect(service(small), live, (), NOW).region == "fra"
    assert expect(service(small), {("fra", "f2"): 4}, (), NOW).region is None


def test_those_left_alone_are_taken_when_nobody_else_is_there() -> None:
    web = service(IAD, FRA)
    alone: set[LeftAlone] = {("iad", "i1")}
    assert expect(web, {}, alone, NOW).region == "fra"
    assert expect(service(IAD), {}, alone, NOW) == Expectation("iad", Room.LEFT_ALONE, {"i1": 1.0})
    full = {("fra", "f1"): 12, ("fra", "f2"): 12}
    assert expect(web, full, alone, NOW).region is None, "refused, rather than sent to what fails"


def test_a_region_that_fails_as_a_whole_comes_last() -> None:
    web = service(IAD, FRA)
    assert expect(web, {}, {("iad", None)}, NOW).region == "fra"
    assert expect(web, {("fra", "f1"): 11, ("fra", "f2"): 11}, {("iad", None)}, NOW).region == "fra"
    full = {("fra", "f1"): 12, ("fra", "f2"): 12}
    assert expect(web, full, {("iad", None)}, NOW).region == "iad"


def test_slow_start_lessens_the_share() -> None:
    fresh = RegionTargets("fra", (worker("f1"), worker("f2", since=NOW - 3), worker("f3")))
    found = expect(service(fresh, slow_start=30.0), {}, (), NOW).shares
    assert found["f2"] < 0.1 < found["f1"] == pytest.approx(found["f3"])
    assert expect(service(fresh), {}, (), NOW).shares["f2"] == pytest.approx(1 / 3)
    over = expect(service(fresh, slow_start=3.0), {}, (), NOW).shares
    assert over["f2"] == pytest.approx(1 / 3)
