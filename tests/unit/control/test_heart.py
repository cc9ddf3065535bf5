"""When the heart may beat: never without BIRD's obedience, never after a late round."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import TcpCheck
from edgenode.control.heart import BLIND, OBEDIENCE, Round, may_beat, unseen

HEALTHY = Round(
    due=100.0,
    now=100.01,
    interval=1.0,
    settled=True,
    withdraw_since=None,
    lifeline_held=True,
    bird_agrees=True,
)


def test_a_healthy_round_beats() -> None:
    assert may_beat(HEALTHY) is None


def test_a_bird_that_is_away_does_not_stop_the_heart_of_a_held_lifeline() -> None:
    # Its sessions are gone with it, or it still obeys: letting go would only add an outage.
    assert may_beat(replace(HEALTHY, bird_agrees=False)) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"settled": False}, "not reached"),
        ({"now": 102.0}, "late"),
        ({"withdraw_since": 100.0 - OBEDIENCE}, "not confirmed"),
        ({"lifeline_held": False, "bird_agrees": False}, "not as wanted"),
        ({"lifeline_held": False, "withdraw_since": 100.0}, "not as wanted"),
    ],
)
def test_what_stops_it(change: dict[str, float], reason: str) -> None:
    assert reason in (may_beat(replace(HEALTHY, **change)) or "")  # type: ignore[arg-type]


def test_a_check_that_was_not_seen_for_three_of_its_rounds_is_unseen() -> None:
    often, seldom = (
        TcpCheck.model_validate(
            {"name": name, "type": "tcp", "target": "192.0.2.1:80", "interval": interval}
        )
        for name, interval in (("often", 1), ("seldom", 60))
    )
    seen = {"often": 100.0, "seldom": 100.0}
    assert unseen([often, seldom], seen, 100 + BLIND) == set()
    assert unseen([often, seldom], seen, 101 + BLIND) == {"often"}
    assert unseen([often, seldom], seen, 300) == {"often", "seldom"}


@given(st.booleans(), st.floats(0, 5), st.booleans())
def test_a_device_is_only_made_over_a_bird_in_order(
    agrees: bool, late: float, settled: bool
) -> None:
    last = replace(
        HEALTHY, lifeline_held=False, bird_agrees=agrees, now=100 + late, settled=settled
    )
    if may_beat(last) is None:
        assert agrees
        assert settled
