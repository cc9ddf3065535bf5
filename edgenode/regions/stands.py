"""How each service stands, as this node sees it: its targets' states, counted. Pure."""

from __future__ import annotations

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
    targets = registry.targets_of(service)
    known = [states[target.key] for target in targets]
    probes = [target.probe for target in targets]
    return ServiceStands(
        reachable=reachable(registry, states, service),
        answered=max((state.answered for state in known), default=0.0),
        since=max((state.since for state in known), default=0.0),
        regions=tuple(
            _region(name, found, states, way) for name, found in registry.by_region(service).items()
        ),
        pace=Pace(
            max((probe.interval for probe in probes), default=1.0),
            max((probe.timeout for probe in probes), default=1.0),
            max((probe.fall for probe in probes), default=2),
        ),
    )


def _region(name: str, targets: Sequence[Target], states: States, way: Way) -> RegionStands:
    counts = dict.fromkeys(State, 0)
    for target in targets:
        counts[states[target.key].state] += 1
    ways = {way(target.endpoint.host) for target in targets}
    return RegionStands(
        name,
        up=counts[State.UP],
        down=counts[State.DOWN],
        unknown=counts[State.UNKNOWN],
        way="" if "" in ways else min(ways, default=""),
    )
