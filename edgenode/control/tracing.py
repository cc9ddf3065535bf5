"""What a client's connection would come to on this node at this moment: `edgenode trace`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenode.bgp.levels import Level
from edgenode.regions import Regions
from edgenode.regions.reasons import Seen
from edgenode.regions.trace import candidates, service_for
from edgenode.steering.link import SteeringLink
from edgenode.steering.report import Report


def trace(
    regions: Regions,
    steering: SteeringLink,
    levels: Mapping[str, Level],
    address: str,
    service: str | None,
    unix: float,
) -> dict[str, Any]:
    """All that `edgenode trace --json` prints, at this Unix time. Raises TraceError.

    `address` is a client's, or one that the node listens on; `levels` are in force, by group.
    """
    registry = regions.registry
    asked = service_for(registry.services, address, service)
    found = candidates(
        registry,
        asked,
        regions.states,
        regions.table,
        regions.order,
        seen(steering.report, asked.name),
        unix,
    )
    return {
        "node": registry.node,
        "address": address,
        # Withdrawn, the node gets no clients: the others do.
        "group": {"name": asked.group, "level": levels[asked.group].value},
        "steering": {
            "connected": steering.connected,
            "applied": steering.applied,
            "report_age_s": None
            if steering.report is None
            else round(max(0.0, unix - steering.report.at), 1),
        },
        **found.to_json(),
    }


def seen(report: Report | None, service: str) -> Seen:
    """What the relays know of the workers, as far as it decides where a service's clients go."""
    if report is None:
        return Seen()
    live = {
        (region, worker): target.live
        for name, target in report.targets.items()
        for region, _, worker in [name.partition("/")]
    }
    return Seen(live)
