"""What the end of a tripwire means: the decisions, played without sockets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.health.tripwire import (
    CALM,
    LONGEST_PAUSE,
    LONGEST_RETRY,
    RENEW,
    Connect,
    Down,
    Pause,
    Step,
    Tripwire,
)


def held(grace: float = 0.0, now: float = 0.0) -> Tripwire:
    wire = Tripwire(grace)
    assert wire.arm() == Connect()
    assert wire.connected(now) == Pause(RENEW)
    return wire


def test_end_and_refusal_is_down() -> None:
    wire = held()
    assert wire.ended(5.0) == Connect()
    assert wire.refused(5.0, "refused") == Down("refused")


def test_end_right_after_arming_is_looked_into_at_once() -> None:
    assert held().ended(0.001) == Connect()


def test_end_and_success_is_nothing() -> None:
    wire = held()
    for now in (60.0, 120.0, 180.0):  # an idle connection closed again and again
        assert wire.ended(now) == Connect()
        assert wire.connected(now) == Pause(RENEW)


def test_a_proxy_of_many_processes_that_dies_within_moments_is_seen_to_be_gone() -> None:
    """Each process but the last leaves a listener behind for a moment."""
    wire = held()
    now, gone = 10.0, 10.005
    step = wire.ended(now)
    while not isinstance(step, Down):
        now += step.seconds if isinstance(step, Pause) else 0.0001
        if now >= gone:
            step = wire.refused(now, "refused")
        else:
            wire.connected(now)
            step = wire.ended(now)
    assert now - 10.0 <= 2 * (gone - 10.0) + 0.001


def test_a_proxy_of_few_processes_that_dies_is_not_waited_for() -> None:
    """Its kernel closes what the confirming connect was queued at: that ends as well, and is
    looked into as soon."""
    wire = held()
    for now in (10.0, 10.0003, 10.0008):
        assert wire.ended(now) == Connect()
        wire.connected(now)
    assert wire.ended(10.001) == Connect()
    assert wire.refused(10.001, "refused") == Down("refused")


def test_a_proxy_that_closes_every_connection_meets_no_storm() -> None:
    wire = held()
    now, tries = 0.0, 0
    step: Step = wire.ended(now)
    while now < 60.0:
        if isinstance(step, Pause):
            now += step.seconds
        tries += 1
        wire.connected(now)
        step = wire.ended(now)
    assert tries < 30
    assert step == Pause(LONGEST_PAUSE)
    wire.connected(now)
    assert wire.ended(now + CALM) == Connect()  # all is forgiven


def test_undecided_never_confirms_and_slows_down() -> None:
    wire = held()
    assert wire.ended(1.0) == Connect()
    steps = [wire.undecided() for _ in range(20)]
    assert steps[0] == Pause(0.001)
    assert steps[-1] == Pause(LONGEST_PAUSE)


def test_restart_within_the_grace_is_nothing() -> None:
    wire = held(grace=2.0)
    assert wire.ended(5.0) == Connect()
    assert wire.refused(5.0, "refused") == Pause(0.01)
    assert wire.waits_out_restart
    assert isinstance(wire.refused(5.01, "refused"), Pause)
    assert wire.connected(6.9) == Pause(RENEW)
    assert not wire.waits_out_restart


def test_each_restart_has_its_own_grace() -> None:
    wire = held(grace=2.0)
    for now in (5.0, 50.0):
        assert wire.ended(now) == Connect()
        assert isinstance(wire.refused(now, "refused"), Pause)
        assert isinstance(wire.refused(now + 1.9, "refused"), Pause)
        wire.connected(now + 1.95)


def test_a_hang_ends_the_grace_and_leaves_it_to_the_polls() -> None:
    wire = held(grace=2.0)
    wire.ended(5.0)
    wire.refused(5.0, "refused")
    assert isinstance(wire.undecided(), Pause)
    assert not wire.waits_out_restart


@given(st.floats(0.001, 30))
def test_grace_ends_in_time_and_is_watched_closely(grace: float) -> None:
    wire = held(grace=grace)
    start = now = 100.0
    wire.ended(now)
    step = wire.refused(now, "refused")
    tries = 1
    while isinstance(step, Pause):
        assert step.seconds <= LONGEST_RETRY
        now += max(step.seconds, 1e-9)
        step = wire.refused(now, "refused")
        tries += 1
    assert isinstance(step, Down)
    assert "refused" in step.reason
    assert now - start == pytest.approx(grace, abs=1e-3)
    assert tries < 12 + grace / LONGEST_RETRY + 2


events = st.lists(
    st.tuples(st.sampled_from(["connected", "ended", "undecided", "refused"]), st.floats(0, 3)),
    max_size=80,
)


@given(st.sampled_from([0.0, 0.5, 2.0]), events)
def test_only_refusals_over_the_whole_grace_confirm(
    grace: float, played: list[tuple[str, float]]
) -> None:
    wire = Tripwire(grace)
    wire.arm()
    now = 0.0
    refused_since: float | None = None
    for name, passed in played:
        now += passed
        if name == "refused":
            if refused_since is None:
                refused_since = now
            step = wire.refused(now, "refused")
            assert isinstance(step, Down) == (refused_since + grace - now <= 0)
            if isinstance(step, Down):
                refused_since = None
                wire.arm()
        elif name == "ended":
            assert not isinstance(wire.ended(now), Down)
        else:
            refused_since = None
            step = wire.connected(now) if name == "connected" else wire.undecided()
            assert isinstance(step, Pause)
        assert wire.waits_out_restart == (refused_since is not None)
