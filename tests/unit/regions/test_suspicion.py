"""Who is suspected, when, and for how long; and what follows from it in a simulated world."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenode.config import RegionProbe
from edgenode.health.risefall import State
from edgenode.regions import suspicion
from edgenode.regions.suspicion import Suspicion, patience
from tests.unit.regions.silence import Silence
from tests.unit.regions.simulation import DISTANCES

probes = st.builds(RegionProbe, interval=st.floats(0.05, 60), timeout=st.floats(0.05, 10))
distances = st.floats(0.0001, 0.5)


@given(distances, probes)
def test_nobody_is_suspected_for_being_as_far_as_usual(usual: float, probe: RegionProbe) -> None:
    wait = patience(usual, probe)
    if wait is not None:
        assert wait >= 1.5 * usual + suspicion.SPARE
        assert 2 * wait < probe.timeout, "the verdict would be there as soon"


@given(st.floats(0.0001, 0.09), st.floats(1, 60))
def test_two_waits_are_over_before_one_and_a_half_intervals(usual: float, interval: float) -> None:
    probe = RegionProbe(interval=interval, timeout=1.0)
    wait = patience(usual, probe)
    assert wait is not None
    assert 1.1 * interval + 2 * wait < 1.5 * interval


@given(st.lists(st.tuples(st.sampled_from("soa"), st.floats(0, 2)), max_size=60), distances)
def test_only_what_has_not_answered_twice_is_suspected(
    history: list[tuple[str, float]], usual: float
) -> None:
    """Probes are sent, are overdue and answered in any order."""
    probe, one, now = RegionProbe(), Suspicion(), 100.0
    overdue = 0
    for what, passed in history:
        now += passed
        before = one.reason
        if what == "s" and one.sent(now, usual, probe) is not None:
            overdue = 0
        elif what == "o" and patience(usual, probe) is not None:
            suspected, due = one.overdue(now)
            overdue += 1
            assert due >= now
            assert suspected is (bool(one.reason) and not before)
            assert overdue >= 2 or not suspected
        elif what == "a":
            assert one.answered(now) is bool(before)
            assert not one.reason, "any answer ends it"


def test_a_false_alarm_makes_the_next_one_need_more_until_it_is_forgiven() -> None:
    probe, one = RegionProbe(), Suspicion()

    def asked(now: float) -> int:
        """How often, until it is a suspect; then it answers."""
        one.sent(now, 0.02, probe)
        found = next(n for n in range(1, 10) if one.overdue(now + n / 10)[0])
        one.answered(now + 1)
        return found

    assert [asked(float(now)) for now in range(5)] == [2, 3, 4, 5, 5]
    assert asked(suspicion.FORGIVEN * probe.interval * 6) == 2


def test_a_suspicion_says_for_how_long_and_asks_less_and_less() -> None:
    probe, one = RegionProbe(), Suspicion()
    due = one.sent(10.0, 0.02, probe)
    found = []
    for _ in range(3):
        assert due is not None
        suspected, following = one.overdue(due)
        found.append((round(due, 2), round(following, 2), suspected, one.reason))
        due = following
    assert found == [
        (10.11, 10.22, False, ""),
        (10.22, 10.44, True, "no answer for 0.2 s"),
        (10.44, 10.88, False, "no answer for 0.4 s"),
    ]
    one.confirmed()
    assert one.reason == ""


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from(sorted(DISTANCES)), st.floats(5, 7))
def test_a_region_that_falls_silent_is_in_no_table_after_one_and_a_half_intervals(
    seed: int, region: str, moment: float
) -> None:
    world = Silence(Random(seed))
    world.run(moment)
    assert world.serves(region)
    world.dead.add(region)
    world.run(moment + 5, lambda: not world.serves(region))
    assert world.now - moment <= 1.5
    assert any(
        risefall.state is State.UP
        for key, risefall in world.risefalls.items()
        if key.region == region
    ), "before any verdict"
    world.run(moment + 10)
    assert not world.serves(region)
    world.dead.clear()
    world.run(moment + 15)
    assert world.serves(region)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.floats(5, 7), st.floats(0.05, 0.95))
def test_an_uplink_that_is_away_for_a_moment_refuses_nobody(
    seed: int, moment: float, away: float
) -> None:
    """None is found dead, there is a region for everybody, and all serve again soon after."""
    world = Silence(Random(seed))
    world.run(moment)
    world.uplink = False
    world.run(moment + away)
    world.uplink = True
    assert world.table is not None
    assert all(service.regions for service in world.table.services)
    assert all(one.state is State.UP for one in world.risefalls.values())
    world.run(moment + away + 1)
    assert all(world.serves(region) for region in DISTANCES)


def test_while_nobody_is_heard_all_serve() -> None:
    """Suspects that are all there is are none: a full uplink moves users nowhere."""
    world = Silence(Random(1))
    world.run(6.0)
    world.uplink = False
    world.run(8.0, lambda: all(one.reason for one in world.suspicions.values()))
    assert world.now < 7.5
    assert all(world.serves(region) for region in DISTANCES)


@pytest.mark.parametrize(
    ("loss", "queues", "alarms"), [(0.01, 0.0, 4), (0.02, 0.1, 25), (0.3, 0.1, 120)]
)
def test_a_way_that_loses_packets_makes_no_tables_come_and_go(
    loss: float, queues: float, alarms: int
) -> None:
    """In ten minutes, of ten targets that are probed each second."""
    for seed in range(5):
        world = Silence(Random(seed), loss, queues)
        world.run(30.0)
        before = world.alarms
        world.run(630.0)
        assert world.alarms - before <= alarms
