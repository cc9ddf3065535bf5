"""When a drain is over: the neighbors know, and no byte of a user has come for a while."""

from __future__ import annotations

from typing import Any

import pytest

from edgenode.config import Config, loads
from edgenode.control.drains import Drains
from edgenode.steering.report import Report, ServiceReport
from tests.unit.config.test_config import GOOD


@pytest.fixture
def drains() -> Drains:
    return Drains(config())


def config() -> Config:
    return loads(GOOD.replace("asn = 64700", 'asn = 64700\ndrain_idle = "5s"', 1))


def report(total: int, **more: Any) -> Report:
    return Report(0.0, {"web": ServiceReport(bytes_up=total, **more)})


def test_idle_counts_from_the_last_byte_and_from_the_proof(drains: Drains) -> None:
    for second in range(20):
        drains.report(report(min(second, 8), live=3), float(second))
        if second == 10:
            drains.proven("web", 10.0)
        assert drains.idle("web", float(second)) is (second >= 15), second
    assert drains.progress("web", 19.0) == {"proven": True, "idle_s": 9.0}


def test_without_a_proof_nobody_is_idle(drains: Drains) -> None:
    for second in range(20):
        drains.report(report(5), float(second))
    assert not drains.idle("web", 19.0)


def test_a_steering_that_does_not_report_is_no_evidence(drains: Drains) -> None:
    drains.proven("web", 0.0)
    assert not drains.idle("web", 100.0)
    drains.report(report(5), 1.0)
    assert not drains.idle("web", 100.0)
    drains.report(report(5), 100.0)
    assert drains.idle("web", 100.5)


def test_a_group_without_a_steered_service_is_never_seen_to_be_idle(drains: Drains) -> None:
    drains.proven("static", 0.0)
    drains.report(report(5), 99.0)
    assert not drains.idle("static", 100.0)


def test_counters_that_begin_anew_are_a_sign_of_life(drains: Drains) -> None:
    drains.proven("web", 0.0)
    drains.report(report(50), 1.0)
    drains.report(report(3), 9.0)
    assert not drains.idle("web", 10.0)


def test_a_drain_that_is_over_has_to_be_proven_again(drains: Drains) -> None:
    drains.report(report(5), 1.0)
    drains.proven("web", 0.0)
    drains.over("web")
    drains.report(report(5), 100.0)
    assert not drains.idle("web", 100.0)
