"""How each service stands, as this node sees it: its targets' states, counted. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgenode.config import Service
from edgenode.config.values import Address
from edgenode.health.risefall import State
from edgenode.regions.evidence import Pace, RegionStands, ServiceStands
from edgenode.regions.ranking import States
from edgenode.regions.registry import Registry, Target

Way = Callable[[Address], str]
"""Why the way to a worker's address is no good; empty: nothing says so."""


def stands(registry: Registry, states: States, service: Service, way: Way) -> ServiceStands:
    """A service as the states of its targets have it. One pass: there may be thousands."""
    found = [
        _region(name, targets, states, way) for name, targets in registry.by_region(service).items()
    ]
    regions = [region for region, _ in found]
    times = [seen for _, seen in found]
    up = any(region.up for region in regions)
    unknown = any(region.unknown for region in regions)
    probes = [targets[0].probe for targets in registry.by_region(service).values()]
    return ServiceStands(
        reachable=True if up else None if unknown else False,
        answered=max((seen.answering if up else seen.answered for seen in times), default=0.0),
        since=max((seen.since for seen in times), default=0.0),
        regions=tuple(regions),
        pace=Pace(
            max((probe.interval for probe in probes), default=1.0),
            max((probe.timeout for probe in probes), default=1.0),
            max((probe.fall for probe in probes), default=2),
        ),
    )


class _Seen(NamedTuple):
    """The newest of a region's times."""

    answering: float
    """That a worker which is up answered."""
    answered: float
    """That any did."""
    since: float


def _region(
    name: str, targets: Sequence[Target], states: States, way: Way
) -> tuple[RegionStands, _Seen]:
    up = unknown = 0
    answering = answered = since = 0.0
    for target in targets:
        state = states[target.key]
        at = state.answered
        if state.state is State.UP:
            up += 1
            if at > answering:
                answering = at
        elif state.state is State.UNKNOWN:
            unknown += 1
        if at > answered:
            answered = at
        if state.since > since:
            since = state.since
    # Where a worker answers the way is good enough, and not asked for.
    ways = {""} if up else {way(target.endpoint.host) for target in targets}
    down = len(targets) - up - unknown
    stands = RegionStands(name, up, down, unknown, "" if "" in ways else min(ways))
    return stands, _Seen(answering, answered, since)
