"""A drain is an announcement first and a withdraw after."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgenode.control.intent import Asked, asked
from edgenode.state import Intent, IntentKind

times = st.floats(0, 2e9)
durations = st.floats(0, 1e6)


def test_without_an_intent_checks_and_regions_decide() -> None:
    assert asked(None, 5.0, 10.0) == Asked()


def test_a_drain_turns_into_a_withdraw_when_its_time_is_over() -> None:
    drain = Intent("web", IntentKind.DRAINED, 100.0, "")
    assert asked(drain, 109.9, 10.0) == Asked(drained=True)
    assert asked(drain, 110.0, 10.0) == Asked(withdrawn=True)


@given(times, times, durations)
def test_a_withdraw_holds_whatever_the_clock_says(since: float, now: float, drain: float) -> None:
    assert asked(Intent("g", IntentKind.WITHDRAWN, since, ""), now, drain) == Asked(withdrawn=True)


@given(times, times, durations)
def test_a_drained_group_is_never_left_alone(since: float, now: float, drain: float) -> None:
    want = asked(Intent("g", IntentKind.DRAINED, since, ""), now, drain)
    assert want.drained != want.withdrawn
