"""Which region first, and which targets at all. Pure.

Health alone excludes; distance only orders. The order has hysteresis: a region passes another
only where it is nearer by a margin that noise does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgenode.config import schema
from edgenode.health.risefall import State
from edgenode.regions.registry import Registry, TargetKey
from edgenode.steering import table

MARGIN_SECONDS = 0.002
MARGIN_SHARE = 0.1


@dataclass(frozen=True)
class TargetState:
    """What is known of a target. `rtt`: smoothed, in seconds."""

    state: State
    rtt: float | None
    reason: str
    since: float
    """Monotonic seconds."""
    answered: float = 0.0
    """When it last answered before it was down, or when it was first looked at; likewise."""


States = Mapping[TargetKey, TargetState]


def region_rtts(states: States) -> dict[str, float]:
    """The distance of each region that has a healthy target: that of its nearest one."""
    rtts: dict[str, float] = {}
    for key, target in states.items():
        if target.state is State.UP and target.rtt is not None:
            rtts[key.region] = min(target.rtt, rtts.get(key.region, target.rtt))
    return rtts


def reorder(previous: Sequence[str], rtts: Mapping[str, float]) -> tuple[str, ...]:
    """The regions of `previous`, nearest first, with hysteresis.

    Each place goes to whoever came first so far, unless the nearest of the rest is nearer by
    more than the margin. A region without a distance keeps its place for when it heals.
    """
    rest = list(previous)
    order: list[str] = []
    while rest:
        chosen = rest[0]
        if chosen in rtts:
            nearest = min((name for name in rest if name in rtts), key=rtts.__getitem__)
            margin = max(MARGIN_SECONDS, MARGIN_SHARE * rtts[chosen])
            if rtts[chosen] - rtts[nearest] > margin:
                chosen = nearest
        rest.remove(chosen)
        order.append(chosen)
    return tuple(order)


def steer(
    registry: Registry, healthy: Iterable[TargetKey], order: Sequence[str]
) -> tuple[table.Service, ...]:
    """The services of a steering table: only healthy targets, regions in the given order."""
    usable = frozenset(healthy)
    return tuple(_service(registry, service, usable, order) for service in registry.services)


def _service(
    registry: Registry,
    service: schema.Service,
    healthy: frozenset[TargetKey],
    order: Sequence[str],
) -> table.Service:
    targets = [t for t in registry.targets_of(service) if t.key in healthy]
    regions = []
    for region in order:
        workers = tuple(
            table.Target(t.key.worker, str(t.endpoint.host), t.endpoint.port)
            for t in targets
            if t.key.region == region
        )
        if workers:
            regions.append(table.RegionTargets(region, workers))
    return table.Service(
        name=service.name,
        listen=tuple(str(endpoint) for endpoint in service.listen),
        proxy_protocol=service.proxy_protocol,
        connect_timeout=service.connect_timeout,
        idle_timeout=service.idle_timeout,
        regions=tuple(regions),
    )


def reachable(registry: Registry, states: States, service: schema.Service) -> bool | None:
    """Whether any target of a service is healthy; None while there is no evidence against it."""
    found = {states[target.key].state for target in registry.targets_of(service)}
    if State.UP in found:
        return True
    return None if State.UNKNOWN in found else False
