"""Steering that serves nobody: only where it says so itself, or says nothing for long."""

from __future__ import annotations

from edgenode.control.relays import REPLACED, SILENT, Relays
from edgenode.steering.report import RelayReport, Report


def report(*healthy: bool) -> Report:
    return Report(at=0.0, relays=tuple(RelayReport(1, each, 0.0) for each in healthy))


def live(relays: Relays, seconds: float, now: float = 0.0, *healthy: bool) -> float:
    """Rounds of a second, each with a report if there is one to make."""
    end = now + seconds
    while now < end:
        now += 0.5
        if healthy:
            relays.report(report(*healthy))
        relays.tick(now)
    return now


def test_one_healthy_relay_worker_is_enough() -> None:
    relays = Relays()
    live(relays, 60, 0.0, False, True)
    assert relays.trouble == ""


def test_relay_workers_that_hang_and_are_not_replaced() -> None:
    relays = Relays()
    now = live(relays, REPLACED, 0.0, False, False)
    live(relays, 1, now, False, False)
    assert relays.trouble == "no relay worker answers"
    relays.report(report(True, False))
    assert relays.trouble == ""


def test_relay_workers_that_just_start() -> None:
    relays = Relays()
    live(relays, REPLACED - 0.5, 0.0, False)
    assert relays.trouble == ""


def test_a_steering_without_relay_workers_or_reports_is_no_evidence() -> None:
    relays = Relays()
    live(relays, 60)
    relays.report(Report(at=0.0))
    live(relays, 1)
    assert relays.trouble == ""


def test_a_steering_that_stands_still() -> None:
    relays = Relays()
    now = live(relays, 5, 0.0, True)
    now = live(relays, SILENT - 1, now)
    assert relays.trouble == ""
    live(relays, 1, now)
    assert "hangs" in relays.trouble
    relays.away()
    now = live(relays, SILENT - 1, now)
    assert "hangs" in relays.trouble, "it was killed for that, and its checks may not know yet"
    live(relays, 60, now)
    assert relays.trouble == ""


def test_a_control_that_stood_still_has_seen_nothing() -> None:
    relays = Relays()
    now = live(relays, 5, 0.0, True)
    relays.tick(now + 600)
    assert relays.trouble == ""
