"""How many connections are kept ready, and for how long."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.dial import Attempt
from edgenode.steering.memory import Memory
from edgenode.steering.table import Bind, RegionTargets, Service, Table, Target
from edgenode.steering.warm import SOON, Reserve, Warm

AGE = 20.0


def attempt(now: float) -> Attempt:
    target = Target("fra-1", "198.51.100.1", 80)
    service = Service("web", (), "none", 1.0, 60.0, (RegionTargets("fra", (target,)),))
    memory = Memory(random=Random(1))
    memory.apply(Table(1, "lon1", Bind(), (service,)), 0.0, 0.0)
    return Attempt("fra", target, 1.0, memory.pools("web")[0], 0, now)


def begin(reserve: Reserve, fd: int, now: float) -> Warm:
    one = Warm(fd, attempt(now))
    reserve.all.append(one)
    return one


steps = st.lists(
    st.tuples(st.sampled_from(("stands", "ends", "used", "look")), st.floats(0, 5)), max_size=60
)


@given(steps, st.integers(0, 4))
def test_laws(story: list[tuple[str, float]], wanted: int) -> None:
    reserve, now, fd = Reserve(wanted, AGE), 100.0, 0
    for what, later in story:
        now += later
        for one in [*reserve.silent(now), *reserve.over(now)]:
            if one in reserve.all:
                reserve.take(one)
        missing = reserve.missing(now)
        assert missing + len(reserve.all) <= wanted
        for _ in range(missing):
            fd += 1
            begin(reserve, fd, now)
        standing = [one for one in reserve.all if one.stood is not None]
        newest = reserve.newest()
        assert (newest is None) == (not standing)
        if newest is not None:
            assert all((one.stood or 0.0) <= (newest.stood or 0.0) for one in standing)
        if what == "stands" and (dialed := [one for one in reserve.all if one.stood is None]):
            reserve.stands(dialed[0], now)
        elif what == "ends" and reserve.all:
            reserve.ended(reserve.all[0], now)
        elif what == "used" and newest is not None:
            reserve.used(newest)
        for one in reserve.all:
            assert one.stood is None or now < one.stood + AGE + 5


def test_who_refuses_is_asked_ever_more_rarely() -> None:
    reserve, now, began = Reserve(1, AGE), 100.0, list[float]()
    while len(began) < 8:
        if reserve.missing(now):
            began.append(now)
            reserve.ended(begin(reserve, len(began), now), now)
        now += 0.1
    pauses = [round(b - a, 1) for a, b in pairwise(began)]
    assert pauses == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0], abs=0.11)


def test_a_worker_that_closes_in_its_own_time_is_no_failure() -> None:
    reserve = Reserve(1, AGE)
    one = begin(reserve, 1, 100.0)
    reserve.stands(one, 100.1)
    reserve.ended(one, 100.1 + SOON)
    assert reserve.missing(100.1 + SOON) == 1


def test_fewer_are_wanted() -> None:
    reserve = Reserve(3, AGE)
    kept = [begin(reserve, fd, 100.0) for fd in (1, 2, 3)]
    reserve.wanted = 1
    assert reserve.over(100.0) == kept[:2]
