"""Metrics of the regions, and of the tunnels to them. One line a region or peer, none a worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

Value = float | None


def collect(status: Mapping[str, Any]) -> Iterator[Metric]:
    """Out of the node's status."""
    yield from _regions(status)
    yield from _services(status)
    yield from _peers(status)
    yield from _paths(status)
    yield from _siblings(status)


def _regions(status: Mapping[str, Any]) -> Iterator[Metric]:
    regions = status["regions"]
    report = status["steering"]["report"] or {}
    live: dict[str, int] = {}
    for name, figures in report.get("targets", {}).items():
        region = name.partition("/")[0]
        live[region] = live.get(region, 0) + figures["live"]
    yield _gauge(
        "edgenode_region_rtt_seconds",
        "Smoothed round-trip to a region; absent while no worker answers.",
        "region",
        ((region["name"], _seconds(region["rtt_ms"])) for region in regions),
    )
    yield _gauge(
        "edgenode_region_workers_healthy",
        "Workers that answer.",
        "region",
        ((region["name"], region["workers_up"]) for region in regions),
    )
    yield _gauge(
        "edgenode_region_workers",
        "Workers that there are.",
        "region",
        ((region["name"], region["workers"]) for region in regions),
    )
    yield _gauge(
        "edgenode_region_connections",
        "Connections from this node that are open now; absent while steering does not report.",
        "region",
        ((region["name"], live.get(region["name"], 0)) for region in regions if report),
    )
    ejected: dict[str, set[str]] = {}
    for each in report.get("ejections", ()):
        if each["ejections"] and each["worker"] is not None:
            ejected.setdefault(each["region"], set()).add(each["worker"])
    yield _gauge(
        "edgenode_region_workers_ejected",
        "Workers that the relays leave alone now, since users' connections to them failed.",
        "region",
        ((region["name"], len(ejected.get(region["name"], ()))) for region in regions if report),
    )


def _services(status: Mapping[str, Any]) -> Iterator[Metric]:
    yield _gauge(
        "edgenode_service_reachable",
        "1 where a region can be reached for the service, 0 where none can; absent while unknown.",
        "service",
        ((each["name"], each["reachable"]) for each in status.get("services", ())),
    )
    causes = GaugeMetricFamily(
        "edgenode_service_cause",
        "1 for where the fault is thought to lie; the others are absent.",
        labels=["service", "cause"],
    )
    for each in status.get("services", ()):
        if each.get("cause"):
            causes.add_metric([each["name"], each["cause"]], 1.0)
    yield causes
    full = CounterMetricFamily(
        "edgenode_service_full",
        "Connections that were refused since no worker had room.",
        labels=["service"],
    )
    for name, count in ((status["steering"]["report"] or {}).get("full") or {}).items():
        full.add_metric([name], count)
    yield full


def _peers(status: Mapping[str, Any]) -> Iterator[Metric]:
    peers = status["mesh"]["peers"]
    yield _gauge(
        "edgenode_mesh_handshake_age_seconds",
        "Since the last handshake; absent before the first.",
        "peer",
        ((peer["name"], peer["handshake_age"]) for peer in peers),
    )
    yield _gauge(
        "edgenode_mesh_peer_stale",
        "1 where there is no live session with the peer, though keepalive would hold one.",
        "peer",
        ((peer["name"], peer["stale"]) for peer in peers),
    )
    for key, what in {"rx": "receive", "tx": "transmit"}.items():
        family = CounterMetricFamily(
            f"edgenode_mesh_{what}_bytes",
            "Bytes through the tunnel, since the device knows the peer.",
            labels=["peer"],
        )
        for peer in peers:
            family.add_metric([peer["name"]], peer[key])
        yield family


def _paths(status: Mapping[str, Any]) -> Iterator[Metric]:
    paths = status.get("paths") or ()
    yield _gauge(
        "edgenode_mesh_path_rtt_seconds",
        "Smoothed round-trip of echoes through the tunnel; absent while none is answered.",
        "peer",
        ((path["name"], _seconds(path["rtt_ms"])) for path in paths),
    )
    yield _gauge(
        "edgenode_mesh_path_loss_ratio",
        "Share of the newest echoes that were not answered.",
        "peer",
        ((path["name"], path["loss"]) for path in paths),
    )
    yield _gauge(
        "edgenode_mesh_path_mtu_bytes",
        "The largest packet that is known to pass; absent before one has.",
        "peer",
        ((path["name"], path["mtu"]["proven"]) for path in paths),
    )
    yield _gauge(
        "edgenode_mesh_path_mtu_configured_bytes",
        "The largest packet that the device is configured for.",
        "peer",
        ((path["name"], path["mtu"]["configured"]) for path in paths),
    )
    yield _gauge(
        "edgenode_mesh_path_bad",
        "1 where connections through the path would hang or fail: workers behind it get none.",
        "peer",
        ((path["name"], path["bad"]) for path in paths),
    )
    states = GaugeMetricFamily(
        "edgenode_mesh_path_state",
        "1 for the state that the path is in; the others are absent.",
        labels=["peer", "state"],
    )
    for path in paths:
        states.add_metric([path["name"], path["state"]], 1.0)
    yield states


def _siblings(status: Mapping[str, Any]) -> Iterator[Metric]:
    siblings = status.get("siblings") or {"edges": []}
    edges = siblings["edges"]
    yield _gauge(
        "edgenode_sibling_heard_age_seconds",
        "Since another edge was last heard over the mesh; absent before the first message.",
        "sibling",
        ((edge["name"], edge["heard_s_ago"]) for edge in edges),
    )
    yield _gauge(
        "edgenode_sibling_fresh",
        "1 where what the other edge says counts.",
        "sibling",
        ((edge["name"], edge["fresh"]) for edge in edges),
    )
    refused = CounterMetricFamily(
        "edgenode_sibling_refused",
        "Messages of another edge that made no sense.",
        labels=["sibling"],
    )
    for edge in edges:
        refused.add_metric([edge["name"]], edge["refused"])
    yield refused
    if edges:
        yield GaugeMetricFamily(
            "edgenode_sibling_conflicts",
            "Mesh addresses and names that two nodes claim.",
            value=len(siblings["conflicts"]),
        )
        yield GaugeMetricFamily(
            "edgenode_registry_stale",
            "1 where other edges know newer workers than this one.",
            value=float(bool(siblings["stale"])),
        )


def _gauge(
    name: str, text: str, label: str, values: Iterable[tuple[str, Value]]
) -> GaugeMetricFamily:
    """What has no value is absent."""
    family = GaugeMetricFamily(name, text, labels=[label])
    for subject, value in values:
        if value is not None:
            family.add_metric([subject], float(value))
    return family


def _seconds(milliseconds: Value) -> Value:
    return None if milliseconds is None else round(milliseconds / 1000, 6)
