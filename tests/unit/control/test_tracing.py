"""What control adds to a trace: the relays' reports, and whether clients come here at all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import pytest

from edgenode.bgp.levels import Level
from edgenode.control.tracing import seen, trace
from edgenode.regions import Regions
from edgenode.regions.reasons import Seen
from edgenode.regions.trace import TraceError
from edgenode.steering.link import SteeringLink
from edgenode.steering.report import EjectionReport, Report, TargetReport
from edgenode.steering.table import Bind
from tests.unit.regions.worlds import config

NOW = 5000.0
REPORT = Report(
    at=NOW - 2,
    targets={"fra/fra-1": TargetReport(live=7), "iad/iad-1": TargetReport(connect_failures=3)},
    ejections=(
        EjectionReport("web", "iad", "iad-1", "refused", NOW + 30, 1),
        EjectionReport("web", "sin", None, "timeout", NOW + 3, 0),
        EjectionReport("web", "iad", "iad-2", "refused", NOW - 1, 1),
        EjectionReport("mail", "fra", "fra-1", "refused", NOW + 30, 1),
    ),
)


def test_the_reports_say_who_is_busy_and_who_is_left_alone() -> None:
    assert seen(None, "web", NOW) == Seen(None, {})
    assert seen(REPORT, "web", NOW) == Seen(
        {("fra", "fra-1"): 7, ("iad", "iad-1"): 0},
        {("iad", "iad-1"): "refused, for 30 s more", ("sin", None): "timeout, for 3 s more"},
    )


@dataclass
class Steering:
    report: Report | None
    connected: bool = True
    applied: int | None = 7


def asked(address: str, service: str | None) -> dict[str, Any]:
    regions = Regions(config(), Bind(), lambda table: None)
    steering = cast(SteeringLink, Steering(REPORT))
    levels = {"web": Level.WITHDRAWN}
    return asyncio.run(trace(regions, steering, levels, config().groups, address, service, NOW))


def test_a_trace_says_whether_clients_come_at_all() -> None:
    found = asked("198.51.100.7", "web")
    assert found["group"] == {"name": "web", "level": "withdrawn"}
    assert found["steering"] == {"connected": True, "applied": 7, "report_age_s": 2.0}
    assert (found["node"], found["address"]) == ("lon1", "198.51.100.7")
    assert (found["service"], found["region"]) == ("web", None)
    assert found["why"] == "there is no table yet: the first probes are out"
    assert found["regions"][0]["live"] == 7


def test_what_cannot_be_answered_is_refused() -> None:
    with pytest.raises(TraceError, match="is no address"):
        asked("nowhere", "web")
    with pytest.raises(TraceError, match="no service listens on"):
        asked("203.0.113.1:81", None)
