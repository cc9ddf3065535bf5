"""Metrics of how users' connections go: by service, by service and region, by relay worker.

No label grows without bound: services and regions stand in the configuration, reasons in
enumerations, relay workers are numbered. There is no line for a worker or a user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from edgenode.steering.histogram import cumulative
from edgenode.steering.report import add

MOST_PAIRS = 1000
"""Of services and regions; where there are more, regions are added up under the label "*"."""

EVERY = "*"

_DIALING = {
    "hedged": "Attempts that were late, and were raced by another.",
    "hedge_won": "Races that the other attempt won.",
    "budget_exhausted": "Attempts that were late and not raced, for want of budget.",
    "warm_used": "Connections that were kept ready, and given to a user.",
    "warm_discarded": "Those that workers had ended, or spoken on, before.",
}

Figures = Mapping[str, Any]


def collect(status: Mapping[str, Any]) -> Iterator[Metric]:
    """Out of the node's status."""
    report = status["steering"]["report"] or {}
    figures: Mapping[str, Figures] = report.get("figures", {})
    yield from _services(figures)
    pairs = sum(len(found.get("regions", ())) for found in figures.values())
    yield from _regions(figures, together=pairs > MOST_PAIRS)
    yield from _relays(report)


def _services(services: Mapping[str, Figures]) -> Iterator[Metric]:
    endings = CounterMetricFamily(
        "edgenode_service_endings",
        "Connections that have ended, by why they did.",
        labels=["service", "why"],
    )
    rtt = HistogramMetricFamily(
        "edgenode_service_user_rtt_seconds",
        "Round trip to the user, of the sessions of which the kernel was asked at their end.",
        labels=["service"],
    )
    segments = CounterMetricFamily(
        "edgenode_service_user_segments", "TCP segments sent to those users.", labels=["service"]
    )
    again = CounterMetricFamily(
        "edgenode_service_user_retransmits", "Of those, sent again.", labels=["service"]
    )
    dialing = {
        key: CounterMetricFamily(f"edgenode_service_{key}", text, labels=["service"])
        for key, text in _DIALING.items()
    }
    for service, found in services.items():
        for key, counter in dialing.items():
            counter.add_metric([service], found.get("dialing", {}).get(key, 0))
        for why, count in found["endings"].items():
            endings.add_metric([service, why], count)
        _add(rtt, [service], found.get("rtt"))
        segments.add_metric([service], found.get("segments", 0))
        again.add_metric([service], found.get("retransmits", 0))
    yield from (endings, rtt, segments, again, *dialing.values())


def _regions(services: Mapping[str, Figures], together: bool) -> Iterator[Metric]:
    labels = ["service", "region"]
    up, down = (
        CounterMetricFamily(f"edgenode_service_region_bytes_{way}", text, labels=labels)
        for way, text in (("up", "Bytes to the region."), ("down", "Bytes from the region."))
    )
    failed = CounterMetricFamily(
        "edgenode_service_region_failed_attempts",
        "Attempts to connect that failed, by how they did.",
        labels=[*labels, "reason"],
    )
    connect = HistogramMetricFamily(
        "edgenode_service_region_connect_seconds",
        "From the first attempt until the region answered.",
        labels=labels,
    )
    for service, found in services.items():
        regions: Mapping[str, Figures] = found.get("regions", {})
        if together:
            regions = {EVERY: _sum(regions)}
        for region, figures in regions.items():
            up.add_metric([service, region], figures.get("bytes_up", 0))
            down.add_metric([service, region], figures.get("bytes_down", 0))
            for reason, count in figures.get("reasons", {}).items():
                failed.add_metric([service, region, reason], count)
            _add(connect, [service, region], figures.get("connect"))
    yield from (up, down, failed, connect)


def _relays(report: Figures) -> Iterator[Metric]:
    """By their place: a relay worker that is replaced keeps the label."""
    relays = report.get("relay_figures", ())
    for key, name, text in (
        ("live", "connections", "Connections of the relay worker that are open now."),
        ("busy", "busy_ratio", "Share of the last second in which it did not wait for events."),
        ("lag_ms", "lag_seconds", "The longest that an event waited for its turn in that time."),
    ):
        family = GaugeMetricFamily(f"edgenode_relay_worker_{name}", text, labels=["relay"])
        for place, relay in enumerate(relays):
            value = relay.get(key, 0)
            family.add_metric([str(place)], value / 1e3 if key == "lag_ms" else value)
        yield family
    compiled = GaugeMetricFamily(
        "edgenode_relay_worker_compiled",
        "1 where the compiled form runs, 0 where the interpreted one does.",
        labels=["relay"],
    )
    for place, relay in enumerate(relays):
        if form := relay.get("form"):
            compiled.add_metric([str(place)], float(form == "compiled"))
    yield compiled
    cpu = CounterMetricFamily(
        "edgenode_relay_worker_cpu_seconds",
        "Processor time of the relay worker, since it started.",
        labels=["relay"],
    )
    for place, relay in enumerate(relays):
        cpu.add_metric([str(place)], relay.get("cpu_s", 0.0))
    yield cpu


def _add(family: HistogramMetricFamily, labels: list[str], times: Figures | None) -> None:
    if times:
        counts = cumulative(times["buckets"])
        buckets = [("+Inf" if name == "inf" else name, float(count)) for name, count in counts]
        family.add_metric(labels, buckets, times["us"] / 1e6)


def _sum(regions: Mapping[str, Figures]) -> Figures:

    total: Figures = {}
    for figures in regions.values():
        total = add(total, figures)
    return total
