"""Metrics of users' connections: what is told of each service and region, and no more lines."""

from __future__ import annotations

from typing import Any

from prometheus_client import generate_latest

from edgenode.api.metrics import registry
from edgenode.api.servicemetrics import MOST_PAIRS
from tests.unit.api.test_api import STATUS


def lines(figures: dict[str, Any], **more: Any) -> list[str]:
    report = STATUS["steering"]["report"] | {"figures": figures} | more
    status = STATUS | {"steering": STATUS["steering"] | {"report": report}}
    return generate_latest(registry(lambda: status)).decode().splitlines()


def test_why_connections_have_ended() -> None:
    found = lines({"web": {"endings": {"closed": 7, "no-target": 2}}})
    assert 'edgenode_service_endings_total{service="web",why="closed"} 7.0' in found
    assert 'edgenode_service_endings_total{service="web",why="no-target"} 2.0' in found


def region(**more: Any) -> dict[str, Any]:
    connect = {"us": 51_000, "buckets": {"0.01": 2, "0.05": 1}}
    return {"bytes_up": 3, "bytes_down": 5, "reasons": {"refused": 2}, "connect": connect} | more


def service(**regions: dict[str, Any]) -> dict[str, Any]:
    rtt = {"us": 20_000, "buckets": {"0.02": 1, "inf": 1}}
    about = {"rtt": rtt, "segments": 40, "retransmits": 3, "dialing": {"hedged": 4}}
    return {"endings": {}, "regions": regions} | about


def test_what_a_region_was_like() -> None:
    found = lines({"web": service(fra=region())})
    at = 'region="fra",service="web"'
    for line in (
        f"edgenode_service_region_bytes_up_total{{{at}}} 3.0",
        f"edgenode_service_region_bytes_down_total{{{at}}} 5.0",
        'edgenode_service_region_failed_attempts_total{reason="refused",region="fra",'
        'service="web"} 2.0',
        'edgenode_service_region_connect_seconds_bucket{le="0.005",region="fra",service="web"} 0.0',
        'edgenode_service_region_connect_seconds_bucket{le="0.01",region="fra",service="web"} 2.0',
        'edgenode_service_region_connect_seconds_bucket{le="+Inf",region="fra",service="web"} 3.0',
        f"edgenode_service_region_connect_seconds_sum{{{at}}} 0.051",
        f"edgenode_service_region_connect_seconds_count{{{at}}} 3.0",
        'edgenode_service_user_rtt_seconds_bucket{le="5",service="web"} 1.0',
        'edgenode_service_user_rtt_seconds_count{service="web"} 2.0',
        'edgenode_service_hedged_total{service="web"} 4.0',
        'edgenode_service_hedge_won_total{service="web"} 0.0',
        'edgenode_service_user_segments_total{service="web"} 40.0',
        'edgenode_service_user_retransmits_total{service="web"} 3.0',
    ):
        assert line in found


def test_more_pairs_than_anybody_looks_at_are_added_up() -> None:
    many = {f"r{number}": region() for number in range(MOST_PAIRS + 1)}
    found = lines({"web": service(**many)})
    assert len(found) < 400
    line = 'edgenode_service_region_bytes_up_total{region="*",service="web"} 3003.0'
    assert line in found


def test_relay_workers_are_told_apart_by_their_place() -> None:
    first = {"pid": 71, "live": 3, "cpu_s": 1.5, "busy": 0.25, "lag_ms": 4.0, "form": "compiled"}
    relays = [first, {"pid": 0}]
    found = lines({}, relay_figures=relays)
    for line in (
        'edgenode_relay_worker_connections{relay="0"} 3.0',
        'edgenode_relay_worker_busy_ratio{relay="0"} 0.25',
        'edgenode_relay_worker_lag_seconds{relay="0"} 0.004',
        'edgenode_relay_worker_cpu_seconds_total{relay="0"} 1.5',
        'edgenode_relay_worker_connections{relay="1"} 0.0',
        'edgenode_relay_worker_compiled{relay="0"} 1.0',
    ):
        assert line in found
    assert not [line for line in found if "71" in line]
