"""Which region first, and which targets at all. Pure.

Health alone excludes; distance only orders. The order has hysteresis: a region passes another
only where it is nearer by a margin that noise does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import inf

from edgenode.config import Service
from edgenode.config.values import Address
from edgenode.health.risefall import State
from edgenode.regions.registry import Registry, Target, TargetKey
from edgenode.steering import table
from edgenode.steering.protection import Protection

MARGIN_SECONDS = 0.002
MARGIN_SHARE = 0.1


PathProblem = Callable[[Address], str | None]
"""Why the way to this address through the mesh is no good; None: it is, or nothing is known."""


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
    behind_bad_way: bool = False
    """It answers its probes: that it is down is what the mesh says of the way to it."""
    suspect: str = ""
    """Why it is up and yet others are better; empty: they are not (see `suspicion`)."""

    @property
    def is_dead(self) -> bool:
        """Whether its own probes say so."""
        return self.state is State.DOWN and not self.behind_bad_way


States = Mapping[TargetKey, TargetState]


def path_problems(registry: Registry, path_problem: PathProblem) -> Mapping[TargetKey, str]:
    """The targets that the mesh has no good way to, and why."""
    return {
        target.key: problem
        for target in registry.targets
        if (problem := path_problem(target.endpoint.host)) is not None
    }


def without(states: States, problems: Mapping[TargetKey, str]) -> States:
    """The states in which these targets are down, though they may answer."""
    if not problems:
        return states
    return {
        key: replace(
            state,
            state=State.DOWN,
            rtt=None,
            reason=problems[key],
            behind_bad_way=state.state is State.UP,
            suspect="",
        )
        if key in problems
        else state
        for key, state in states.items()
    }


def region_rtts(states: States) -> dict[str, float]:
    """The distance of each region that has a healthy target: that of its nearest one."""
    rtts: dict[str, float] = {}
    for (region, _, _), target in states.items():
        rtt = target.rtt
        if rtt is not None and target.state is State.UP and rtt < rtts.get(region, inf):
            rtts[region] = rtt
    return rtts


def reorder(previous: Sequence[str], rtts: Mapping[str, float]) -> tuple[str, ...]:
    """The regions of `previous`, nearest first, with hysteresis.

    Each place goes to whoever came first so far, unless the nearest of the rest is nearer by
    more than the margin. A region without a distance keeps its place for when it heals.
    """
    rest = dict.fromkeys(previous)
    by_distance = sorted((name for name in rest if name in rtts), key=rtts.__getitem__)
    nearest = 0
    order: list[str] = []
    while rest:
        chosen = next(iter(rest))
        if chosen in rtts:
            while by_distance[nearest] not in rest:
                nearest += 1
            distance = rtts[by_distance[nearest]]
            if rtts[chosen] - distance > max(MARGIN_SECONDS, MARGIN_SHARE * rtts[chosen]):
                chosen = by_distance[nearest]
        del rest[chosen]
        order.append(chosen)
    return tuple(order)


def order_of(service: Service, order: Sequence[str]) -> tuple[str, ...]:
    """The order of all regions for one service: first those that it prefers."""
    return tuple(dict.fromkeys((*service.prefer, *order))) if service.prefer else tuple(order)


Healthy = Mapping[TargetKey, float]
"""The targets that may be used, with the Unix time at which each came up (0: long ago)."""


def steer(
    registry: Registry,
    healthy: Healthy,
    order: Sequence[str],
    behind_bad_ways: Container[TargetKey] = frozenset(),
    suspects: Collection[TargetKey] = frozenset(),
    dead: Container[TargetKey] = frozenset(),
) -> tuple[table.Service, ...]:
    """The services of a steering table: healthy targets, regions in the given order.

    What is draining serves only where nothing else is healthy: a worker that was meant to end soon
    is better than none, and a mistake in a drain must not refuse everybody. Nor must one in looking
    at the ways: where all are bad, those serve that answer. A suspect comes after what drains, of
    which it is known that it is well; where all are suspects, all serve as if none were.

    `dead` by their probes: they are named where their connections are to be closed, unless they
    drain (one that ends as it was asked to takes no new connections either), and only while another
    is healthy: where none is, this node may be at fault, and nobody would be served sooner.
    """
    tiers: list[tuple[Container[TargetKey], int]] = [(healthy, 0), (healthy, 1)]
    if suspects:
        sure = healthy.keys() - suspects
        tiers = [(sure, 0), (sure, 1), *tiers]
    tiers += [(behind_bad_ways, 0), (behind_bad_ways, 1)]
    services = []
    for service in registry.services:
        targets: Mapping[str, list[Target]] = {}
        for known, draining in tiers:
            targets = targets or {
                region: chosen
                for region, of_region in registry.for_new(service).items()
                if (chosen := [one for one in of_region[draining] if one.key in known])
            }
        made = _service(registry, service, targets, healthy, order)
        if service.close_dead and any(
            one.key in healthy for chosen in targets.values() for one in chosen
        ):
            made = replace(made, dead=_dead(registry, service, dead))
        services.append(made)
    return tuple(services)


def _dead(
    registry: Registry, service: Service, dead: Container[TargetKey]
) -> tuple[table.RegionTargets, ...]:
    return tuple(
        table.RegionTargets(region, tuple(found))
        for region, (targets, _) in registry.for_new(service).items()
        if (found := [one.in_table() for one in targets if one.key in dead])
    )


def _service(
    registry: Registry,
    service: Service,
    targets: Mapping[str, Sequence[Target]],
    healthy: Healthy,
    order: Sequence[str],
) -> table.Service:
    slow = service.slow_start > 0
    regions = []
    for name in order_of(service, order):
        if name in targets:
            region = registry.regions[name]
            workers = tuple(
                [
                    target.in_table(healthy.get(target.key, 0.0) if slow else 0.0)
                    for target in targets[name]
                ]
            )
            regions.append(table.RegionTargets(name, workers, region.soft_limit, region.hard_limit))
    return table.Service(
        name=service.name,
        listen=tuple(str(endpoint) for endpoint in service.listen),
        proxy_protocol=service.proxy_protocol,
        connect_timeout=service.connect_timeout,
        idle_timeout=service.idle_timeout,
        regions=tuple(regions),
        slow_start=service.slow_start,
        protection=_protection(service),
        sni=service.sni,
        alpn=service.alpn,
        hello_timeout=service.hello_timeout,
        accept_proxy=tuple(str(prefix) for prefix in service.accept_proxy),
        proxy_tlvs=service.proxy_tlvs,
        hedge=service.hedge,
        warm=service.warm,
        client_first=service.client_first,
    )


def _protection(service: Service) -> Protection:
    limits = service.limits
    allow, deny = service.prefix_lists
    return Protection(
        allow=allow,
        deny=deny,
        connections=limits.connections or 0,
        per_source=limits.per_source or 0,
        source_prefix_v4=limits.source_prefix_v4,
        source_prefix_v6=limits.source_prefix_v6,
        rate=limits.rate or 0.0,
        burst=limits.burst or 0,
        source_rate=limits.source_rate or 0.0,
        source_burst=limits.source_burst or 0,
        half_closed_timeout=service.half_closed_timeout or 0.0,
        lifetime=service.lifetime or 0.0,
    )


def reachable(registry: Registry, states: States, service: Service) -> bool | None:
    """Whether any target that a service may use is healthy; None: no evidence against it yet.

    A draining one counts: it serves where nothing else does (see `steer`); one behind a
    way that is no good does not, since others may reach theirs. A suspect is as good as any.
    """
    unknown = False
    for target in chain.from_iterable(registry.by_region(service).values()):
        state = states[target.key].state
        if state is State.UP:
            return True
        unknown = unknown or state is State.UNKNOWN
    return None if unknown else False
