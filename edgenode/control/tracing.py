"""What a client's connection would come to on this node at this moment: `edgenode trace`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from edgenode.bgp.levels import Level
from edgenode.config import schema
from edgenode.regions import Regions
from edgenode.regions.reasons import Seen
from edgenode.regions.trace import candidates, service_for
from edgenode.steering.link import SteeringLink
from edgenode.steering.report import Report


async def trace(
    regions: Regions,
    steering: SteeringLink,
    levels: Mapping[str, Level],
    groups: Sequence[schema.Group],
    address: str,
    service: str | None,
    unix: float,
) -> dict[str, Any]:
    """All that `edgenode trace --json` prints, at this Unix time. Raises TraceError.

    `address` is a client's, or one that the node listens on; `levels` are in force, by group;
    what is in the prefixes of `groups` is ours and nobody's client.
    """
    registry = regions.registry
    asked = service_for(registry.services, groups, address, service)
    states, table, order = dict(regions.states), regions.table, regions.order
    known = seen(steering.report, asked.name, unix)
    found = await asyncio.to_thread(  # thousands of workers take long: not in a withdraw's way
        lambda: candidates(registry, asked, states, table, order, known, unix).to_json()
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
        **found,
    }


def seen(report: Report | None, service: str, unix: float) -> Seen:
    """What the relays know of the workers, as far as it decides where a service's clients go."""
    if report is None:
        return Seen()
    live = {
        (region, worker): target.live
        for name, target in report.targets.items()
        for region, _, worker in [name.partition("/")]
    }
    left_alone = {
        (one.region, one.worker): f"{one.reason}, for {one.until - unix:.0f} s more"
        for one in report.ejections
        if one.service == service and one.until > unix
    }
    return Seen(live, left_alone)
