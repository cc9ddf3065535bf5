"""Metrics of how users' connections go: by service, and by service and region. None a worker.

Their labels are bounded: names stand in the configuration, reasons in an enumeration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric


def collect(status: Mapping[str, Any]) -> Iterator[Metric]:
    """Out of the node's status."""
    figures: Mapping[str, Any] = (status["steering"]["report"] or {}).get("figures", {})
    endings = CounterMetricFamily(
        "edgenode_service_endings",
        "Connections that have ended, by why they did.",
        labels=["service", "why"],
    )
    for service, found in figures.items():
        for why, count in found["endings"].items():
            endings.add_metric([service, why], count)
    yield endings
