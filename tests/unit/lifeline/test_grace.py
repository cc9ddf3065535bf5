from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.lifeline.grace import SETTLED, Grace, Phase

GRACE, TIMEOUT = 3.0, 10.0


def machine() -> Grace:
    return Grace(GRACE, TIMEOUT)


def test_nothing_is_held_before_the_first_beat() -> None:
    state = machine()
    state.tick(1000)
    state.closed(1, 1000)
    assert not state.held
    assert state.deadline is None
    state.beat(1, 1000)
    assert state.held


def test_a_closed_connection_has_grace_and_no_more() -> None:
    state = machine()
    state.beat(1, 0)
    state.closed(1, 5)
    assert state.held
    assert state.deadline == 5 + GRACE
    state.tick(5 + GRACE - 0.01)
    assert state.held
    state.tick(5 + GRACE)
    assert not state.held


def test_silence_is_a_loss_too() -> None:
    state = machine()
    state.beat(1, 0)
    state.tick(TIMEOUT)
    assert state.phase is Phase.GRACE
    assert state.deadline == TIMEOUT + GRACE


def test_who_looks_late_does_not_give_more_time() -> None:
    state = machine()
    state.beat(1, 0)
    state.beat(1, TIMEOUT + GRACE + 1)
    assert state.held, "the beat holds again"
    state.closed(1, TIMEOUT + GRACE + 2)
    state.tick(TIMEOUT + GRACE + 2 + GRACE)
    assert not state.held


def test_a_restarted_control_takes_over_in_the_grace() -> None:
    state = machine()
    state.beat(1, 0)
    state.closed(1, 1)
    state.beat(2, 2)
    assert state.phase is Phase.BEATING
    state.tick(2 + TIMEOUT - 0.01)
    assert state.phase is Phase.BEATING


def test_a_newer_control_takes_over_from_one_that_lives() -> None:
    state = machine()
    state.beat(1, 0)
    state.beat(2, 1)
    state.closed(1, 2)
    assert state.phase is Phase.BEATING
    state.beat(1, TIMEOUT)
    state.tick(TIMEOUT + 1)
    assert state.deadline == TIMEOUT + 1 + GRACE, "the older one's beats did not count"
    state.beat(1, TIMEOUT + 2)
    assert state.deadline == TIMEOUT + 2 + TIMEOUT, "now that the newer one is gone they do"


def test_without_grace_the_end_is_at_once() -> None:
    state = Grace(0.0, TIMEOUT)
    state.beat(1, 0)
    state.closed(1, 500)
    assert not state.held


def test_a_device_that_was_removed_comes_back_with_the_next_beat() -> None:
    state = machine()
    state.beat(1, 0)
    state.device_lost()
    assert not state.held
    state.beat(1, 1)
    assert state.held


@pytest.mark.parametrize("away", [0.0, 0.05, 0.9])
def test_a_crash_loop_ends_the_grace(away: float) -> None:
    state = machine()
    now = 0.0
    losses = 0
    for control in range(1, 100):
        state.beat(control, now)
        now += 5
        state.beat(control, now)
        state.closed(control, now)
        if not state.held:
            break
        losses += 1
        now += away
    assert losses == 3


def test_grace_comes_back_when_control_is_stable() -> None:
    state = machine()
    now = 0.0
    for control in range(1, 20):
        for _ in range(int(SETTLED) + 1):
            state.beat(control, now)
            now += 1
        state.closed(control, now)
        assert state.held
        now += GRACE - 0.1


events = st.lists(
    st.tuples(
        st.floats(0, 30),
        st.sampled_from(["beat", "closed", "tick", "lost"]),
        st.integers(1, 3),
    ),
    max_size=60,
)


@given(events, st.floats(0, 10), st.floats(0.1, 20))
def test_laws(sequence: list[tuple[float, str, int]], grace: float, timeout: float) -> None:
    state = Grace(grace, timeout)
    now = 0.0
    beaten = float("-inf")
    for pause, event, control in sequence:
        now += pause
        match event:
            case "beat":
                beaten = now
                state.beat(control, now)
                assert state.held, "a beat holds"
            case "closed":
                state.closed(control, now)
            case "tick":
                state.tick(now)
            case "lost":
                state.device_lost()
        if state.held:
            assert now <= beaten + timeout + grace + 1e-6, "held for longer than was promised"
            assert state.deadline is not None
            assert now <= state.deadline <= now + max(timeout, grace) + 1e-6
        else:
            assert state.deadline is None
