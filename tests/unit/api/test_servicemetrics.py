"""Metrics of users' connections: what is told of each service and region, and no more lines."""

from __future__ import annotations

from typing import Any

from prometheus_client import generate_latest

from edgenode.api.metrics import registry
from tests.unit.api.test_api import STATUS


def lines(figures: dict[str, Any]) -> list[str]:
    report = STATUS["steering"]["report"] | {"figures": figures}
    status = STATUS | {"steering": STATUS["steering"] | {"report": report}}
    return generate_latest(registry(lambda: status)).decode().splitlines()


def test_why_connections_have_ended() -> None:
    found = lines({"web": {"endings": {"closed": 7, "no-target": 2}}})
    assert 'edgenode_service_endings_total{service="web",why="closed"} 7.0' in found
    assert 'edgenode_service_endings_total{service="web",why="no-target"} 2.0' in found
