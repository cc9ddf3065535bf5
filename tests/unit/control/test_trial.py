"""A trial fails when its time is over, or when a session that stood does not come back."""

from __future__ import annotations

from edgenode.control.trial import LOST, Trial


def test_nobody_confirmed() -> None:
    trial = Trial(100.0, 60.0, ["transit"])
    assert trial.failed(159.9, {"transit"}) is None
    assert "within 60 s" in (trial.failed(160.0, {"transit"}) or "")


def test_a_session_that_comes_back_in_time() -> None:
    trial = Trial(0.0, 600.0, ["transit"])
    assert trial.failed(LOST - 0.1, set()) is None
    assert trial.failed(LOST, {"transit"}) is None
    assert trial.failed(2 * LOST - 0.1, set()) is None


def test_a_session_that_does_not() -> None:
    trial = Trial(0.0, 600.0, ["one", "other"])
    assert trial.failed(10.0, {"one", "other"}) is None
    assert trial.failed(9.9 + LOST, {"one"}) is None
    why = trial.failed(10.0 + LOST, {"one"}) or ""
    assert "other" in why
    assert "one" not in why


def test_a_session_that_never_stood_is_not_waited_for() -> None:
    assert Trial(0.0, 600.0, []).failed(500.0, set()) is None
