"""How each service stands, as this node sees it: its targets' states, counted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from edgenode.config import schema
from edgenode.config.values import Address
from edgenode.health.risefall import State
from edgenode.regions.evidence import Pace, RegionStands, ServiceStands
from edgenode.regions.ranking import States, reachable
from edgenode.regions.registry import Registry, Target

Way = Callable[[Address], str]
"""Why the way to a worker's address is no good; empty: nothing says so."""


def stands(registry: Registry, states: States, service: schema.Service, way: Way) -> ServiceStands:
    """A service as the states of its targets have it."""
    regions = registry.by_region(service)
    targets = registry.targets_of(service)
    known = [states[target.key] for target in targets]
    answering = [state for state in known if state.state is State.UP]
    probes = dict.fromkeys(target.probe for target in targets)
    return ServiceStands(
        reachable=reachable(registry, states, service),
        answered=max((state.answered for state in answering or known), default=0.0),
        since=max((state.since for state in known), default=0.0),
        regions=tuple(_region(name, regions[name], states, way) for name in regions),
        pace=Pace(
            max((probe.interval for probe in probes), default=1.0),
            max((probe.timeout for probe in probes), default=1.0),
            max((probe.fall for probe in probes), default=2),
        ),
    )


def _region(name: str, targets: Sequence[Target], states: States, way: Way) -> RegionStands:
    counts = Counter(states[target.key].state for target in targets)
    up = counts[State.UP]
    # Where a worker answers the way is good enough, and not asked for.
    ways = {"" if up else way(target.endpoint.host) for target in targets}
    return RegionStands(
        name,
        up=up,
        down=counts[State.DOWN],
        unknown=counts[State.UNKNOWN],
        way="" if "" in ways else min(ways, default=""),
    )
