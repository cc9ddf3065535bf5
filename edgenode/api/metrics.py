"""Metrics, read off the node's status when they are asked for: nothing is counted twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from edgenode.api import regionmetrics, registrymetrics, servicemetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LEVELS = ("normal", "degraded", "drained", "withdrawn")


class StatusCollector(Collector):
    """Turns the status of `edgenode.control` into metric families."""

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Called by prometheus-client at each scrape."""
        status = self._status()
        yield from _announcements(status)
        yield from _operators(status)
        yield from _health(status)
        yield from regionmetrics.collect(status)
        yield from registrymetrics.collect(status)
        yield from _steering(status)
        yield from servicemetrics.collect(status)


def registry(status: Callable[[], Mapping[str, Any]]) -> CollectorRegistry:
    """A registry of its own: the default one would add the interpreter's metrics twice."""
    result = CollectorRegistry(auto_describe=False)
    result.register(StatusCollector(status))
    return result


def _announcements(status: Mapping[str, Any]) -> Iterator[Metric]:
    levels = GaugeMetricFamily(
        "edgenode_group_level", "1 for the level that a group is at.", labels=["group", "level"]
    )
    agree = GaugeMetricFamily(
        "edgenode_group_in_force",
        "1 where BIRD does what was decided for the group.",
        labels=["group"],
    )
    for group in status["groups"]:
        for level in _LEVELS:
            levels.add_metric([group["name"], level], float(group["level"] == level))
        agree.add_metric([group["name"]], float(group["in_force"]))
    yield levels
    yield agree
    sessions = GaugeMetricFamily(
        "edgenode_neighbor_up", "1 where the BGP session is established.", labels=["neighbor"]
    )
    for neighbor in status["neighbors"]:
        sessions.add_metric([neighbor["name"]], float(neighbor["state"] == "Established"))
    yield sessions
    yield GaugeMetricFamily(
        "edgenode_bird_connected",
        "1 where BIRD's control socket answers.",
        value=float(status["bird"]["connected"]),
    )
    yield GaugeMetricFamily(
        "edgenode_lifeline_held",
        "1 where the lifeline holds the announcements' device.",
        value=float(status["lifeline"]["held"]),
    )


def _operators(status: Mapping[str, Any]) -> Iterator[Metric]:
    """What an alert should say that the levels alone do not."""
    yield GaugeMetricFamily(
        "edgenode_paused",
        "1 while nothing moves by itself: the checks withdraw nothing.",
        value=float(status.get("paused") is not None),
    )
    intents = GaugeMetricFamily(
        "edgenode_intent",
        "1 for each intent of an operator; group * is the node.",
        labels=["group", "kind", "neighbor"],
    )
    for intent in status.get("intents", []):
        intents.add_metric([intent["group"], intent["kind"], intent["neighbor"]], 1.0)
    yield intents
    penalty = GaugeMetricFamily(
        "edgenode_group_penalty",
        "What upstreams that damp are thought to hold against the group (RFC 2439).",
        labels=["group"],
    )
    share = GaugeMetricFamily(
        "edgenode_group_penalty_ratio",
        "The same as a share of the threshold from which on they hide it.",
        labels=["group"],
    )
    waiting = GaugeMetricFamily(
        "edgenode_group_wait_seconds",
        "How long the group's announcement waits for hold_down or damping.",
        labels=["group"],
    )
    for group in status["groups"]:
        if figures := group.get("penalty"):
            penalty.add_metric([group["name"]], figures["value"])
            share.add_metric([group["name"]], figures["value"] / figures["suppress"])
            waiting.add_metric([group["name"]], (group["waits"] or {"s": 0.0})["s"])
    yield penalty
    yield share
    yield waiting
    yield CounterMetricFamily(
        "edgenode_history_lost",
        "Events that could not be kept in the history.",
        value=status.get("history", {}).get("lost", 0),
    )


def _health(status: Mapping[str, Any]) -> Iterator[Metric]:
    checks = GaugeMetricFamily(
        "edgenode_check_up", "1 up, 0 down; absent while unknown.", labels=["check"]
    )
    for check in status["checks"]:
        if check["state"] != "unknown":
            checks.add_metric([check["name"]], float(check["state"] == "up"))
    yield checks
    probes = CounterMetricFamily(
        "edgenode_check_probes",
        "Probes by result: late, unknown and errors are no verdict.",
        labels=["check", "result"],
    )
    for check in status["checks"]:
        for result in ("succeeded", "failed", "late", "unknown", "errors"):
            probes.add_metric([check["name"], result], check[result])
    yield probes
    warnings = GaugeMetricFamily(
        "edgenode_check_warning", "1 where there is a warning beside the state.", labels=["check"]
    )
    ends = GaugeMetricFamily(
        "edgenode_check_certificate_end_timestamp_seconds",
        "When the certificate that was seen last ends, in Unix time.",
        labels=["check"],
    )
    for check in status["checks"]:
        warnings.add_metric([check["name"]], float(bool(check["warning"])))
        if check["certificate_ends"] is not None:
            ends.add_metric([check["name"]], check["certificate_ends"])
    yield warnings
    yield ends


_COUNTERS = {
    "accepted": "Connections accepted.",
    "failed": "Connections that no worker took.",
    "bytes_up": "Bytes from clients to workers.",
    "bytes_down": "Bytes from workers to clients.",
}


def _steering(status: Mapping[str, Any]) -> Iterator[Metric]:
    steering = status["steering"]
    yield GaugeMetricFamily(
        "edgenode_steering_connected",
        "1 where edgenode steering takes tables from control.",
        value=float(steering["connected"]),
    )
    report = steering["report"] or {}
    services: Mapping[str, Any] = report.get("services", {})
    live = GaugeMetricFamily(
        "edgenode_service_connections", "Connections open now.", labels=["service"]
    )
    for name, figures in services.items():
        live.add_metric([name], figures["live"])
    yield live
    for key, text in _COUNTERS.items():
        family = CounterMetricFamily(f"edgenode_service_{key}", text, labels=["service"])
        for name, figures in services.items():
            family.add_metric([name], figures[key])
        yield family
    steered = CounterMetricFamily(
        "edgenode_service_region_connections",
        "Connections steered to a region.",
        labels=["service", "region"],
    )
    failures = CounterMetricFamily(
        "edgenode_service_region_failures",
        "Attempts that a region did not answer.",
        labels=["service", "region"],
    )
    for name, figures in services.items():
        for region, counts in figures.get("regions", {}).items():
            steered.add_metric([name, region], counts["connections"])
            failures.add_metric([name, region], counts["failures"])
    yield steered
    yield failures
    for key, text in {
        "accept_errors": "Times that a connection could not be accepted.",
        "log_dropped": "Lines that the access log could not take.",
        "set_aside_total": "Tables that nobody obeys, since a relay worker failed at them.",
        "upgrades": "Times that a new version has taken over with all connections.",
    }.items():
        yield CounterMetricFamily(f"edgenode_steering_{key}", text, value=report.get(key, 0))
    shortages = CounterMetricFamily(
        "edgenode_steering_shortages",
        "Times that the node itself had not enough of something for a connection.",
        labels=["what"],
    )
    for what, count in report.get("shortages", {}).items():
        shortages.add_metric([what], count)
    yield shortages
    yield GaugeMetricFamily(
        "edgenode_steering_table_set_aside",
        "1 while steering serves from an older table, since the last one was set aside.",
        value=float(bool(report.get("set_aside"))),
    )
    yield GaugeMetricFamily(
        "edgenode_steering_listen_failures",
        "Addresses that cannot be listened on.",
        value=len(report.get("listen_failures", {})),
    )
    relays = GaugeMetricFamily("edgenode_relay_workers_healthy", "Relay workers with a heartbeat.")
    relays.add_metric([], sum(1 for relay in report.get("relays", []) if relay["healthy"]))
    yield relays
