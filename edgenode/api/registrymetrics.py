"""Metrics of the registry: how old what is known of the workers is, and what of it is not used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric


def collect(status: Mapping[str, Any]) -> Iterator[Metric]:
    """Out of the node's status; nothing where no worker registers itself."""
    registry = status.get("registry", {"source": "config"})
    if registry["source"] == "config":
        return
    figures = {
        "age_seconds": (
            "Since etcd last said who the workers are; grows while the last copy serves.",
            registry["age_s"],
        ),
        "revision": (
            "etcd's revision up to which the workers are known.",
            registry["revision"],
        ),
        "workers": ("Workers that registered themselves.", registry["workers"]),
        "workers_missing": (
            "Workers that stay for now although their records have gone.",
            len(registry["missing"]),
        ),
        "refused": ("Records that are not used.", registry["refused_count"]),
    }
    for name, (text, value) in figures.items():
        if value is not None:
            yield GaugeMetricFamily(f"edgenode_registry_{name}", text, value=value)
