"""Laws of the rise/fall state machine."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.health.risefall import RiseFall, State, Verdict

counts = st.integers(1, 5)
runs = st.lists(st.booleans(), max_size=60)


@dataclass(frozen=True)
class Proof:
    """`confirm_down` among the observations."""


def play(machine: RiseFall, events: list[bool | Proof]) -> list[Verdict | None]:
    return [
        machine.confirm_down(float(at), "proof")
        if isinstance(event, Proof)
        else machine.observe(event, float(at), "ok" if event else "failed")
        for at, event in enumerate(events)
    ]


def last(events: list[bool | Proof], value: bool) -> int:
    """How many of the last events are `value` in a row."""
    count = 0
    for event in reversed(events):
        if event is not value:
            break
        count += 1
    return count


@given(counts, counts, st.lists(st.booleans() | st.builds(Proof), max_size=60))
def test_verdicts_come_exactly_at_rise_and_fall(
    rise: int, fall: int, events: list[bool | Proof]
) -> None:
    machine = RiseFall("c", rise, fall, 0.0)
    state = State.UNKNOWN
    entered = 0
    for at, event in enumerate(events):
        verdict = play_one(machine, event, at)
        seen = events[entered : at + 1]
        expected = state
        if isinstance(event, Proof):
            expected = State.DOWN
        elif state is not State.UP and last(seen, True) >= rise:
            expected = State.UP
        elif state is not State.DOWN and last(seen, False) >= fall:
            expected = State.DOWN
        assert machine.state is expected
        if expected is state:
            assert verdict is None
        else:
            assert verdict == machine.verdict
            assert verdict.since == at
            state, entered = expected, at + 1


def play_one(machine: RiseFall, event: bool | Proof, at: int) -> Verdict | None:
    if isinstance(event, Proof):
        return machine.confirm_down(float(at), "proof")
    return machine.observe(event, float(at), "ok" if event else "failed")


@given(st.integers(2, 5), st.integers(2, 5), st.booleans(), st.sampled_from(State))
def test_alternating_observations_never_change_the_state(
    rise: int, fall: int, first: bool, state: State
) -> None:
    machine = RiseFall("c", rise, fall, 0.0)
    machine.adopt(state, 0.0, "adopted")
    assert play(machine, [first, not first] * 20) == [None] * 40
    assert machine.state is state


@given(counts, counts, runs)
def test_proof_is_down_at_once_and_forgets_earlier_successes(
    rise: int, fall: int, before: list[bool]
) -> None:
    machine = RiseFall("c", rise, fall, 0.0)
    play(machine, list(before))
    was_down = machine.state is State.DOWN
    verdict = machine.confirm_down(99.0, "refused")
    assert machine.verdict.state is State.DOWN
    assert (verdict is None) == was_down
    after = [verdict and verdict.state for verdict in play(machine, [True] * rise)]
    assert after == [None] * (rise - 1) + [State.UP]


def test_adopted_state_gives_no_verdict_and_needs_a_full_run_to_leave() -> None:
    machine = RiseFall("c", 2, 3, 0.0)
    machine.observe(False, 0.5, "failed")
    machine.observe(False, 0.6, "failed")
    machine.adopt(State.UP, 1.0, "taken over")
    assert machine.verdict == Verdict("c", State.UP, "taken over", 1.0)
    assert machine.observe(False, 2.0, "failed") is None
    assert machine.observe(False, 3.0, "failed") is None
    assert machine.observe(False, 4.0, "gone") == Verdict("c", State.DOWN, "gone", 4.0)


@pytest.mark.parametrize(("rise", "fall"), [(0, 1), (1, 0)])
def test_rise_and_fall_are_at_least_one(rise: int, fall: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RiseFall("c", rise, fall, 0.0)


@given(counts, counts, runs)
def test_in_doubt_is_what_the_next_results_may_end(
    rise: int, fall: int, before: list[bool]
) -> None:
    machine = RiseFall("c", rise, fall, 0.0)
    play(machine, list(before))
    if machine.state is State.UNKNOWN:
        assert machine.in_doubt
    else:
        agrees = before[-1] is (machine.state is State.UP)
        assert machine.in_doubt is not agrees
