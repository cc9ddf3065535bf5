"""When a new steering table is due. Pure: states and the time in, a table or nothing out.

Health changes and suspicions go out at once; an order that only follows distances at most every few
seconds.
"""

from __future__ import annotations

from dataclasses import replace

from edgenode.health.risefall import State
from edgenode.health.schedule import SPREAD
from edgenode.regions.ranking import Healthy, States, region_rtts, reorder, steer
from edgenode.regions.registry import Registry, TargetKey
from edgenode.steering.table import Service, Table

REORDER_INTERVAL = 5.0
"""Seconds between two tables of which only the order differs."""


class Publisher:
    """Remembers the last table, the order of the regions, and what came up when."""

    def __init__(self, registry: Registry, now: float, last: Table | None = None) -> None:
        """`last`: the table that was in force before this process.

        Its revision goes on, its order stays until there is better, and its targets count as
        healthy until the probes have found out, so that a restart steers nobody away.
        """
        self._registry = registry
        self._last = last
        self._trusted = _targets_in(last, registry) if last else {}
        self._healthy: Healthy = self._trusted
        self._order = _order_in(last, registry) if last else tuple(registry.regions)
        self._settled_at = now + _settling_time(registry)
        self._warm_until = self._settled_at if last is None else now
        self._published_at = now - REORDER_INTERVAL

    @property
    def table(self) -> Table | None:
        """The last table."""
        return self._last

    @property
    def order(self) -> tuple[str, ...]:
        """All regions, nearest first; where a region that is down will come back to."""
        return self._order

    def take_over(self, before: Publisher) -> None:
        """Go on with what another one knows: the table in force, and what came up when."""
        self._last = before._last or self._last
        self._warm_until = before._warm_until
        same = _endpoints(self._registry).items() & _endpoints(before._registry).items()
        known = {key: before._healthy[key] for key, _ in same if key in before._healthy}
        self._trusted = self._healthy = {**self._trusted, **known}
        present = (name for name in before._order if name in self._registry.regions)
        self._order = tuple(dict.fromkeys((*present, *self._registry.regions)))

    def take(self, registry: Registry, now: float) -> None:
        """Workers have come or gone: what is known of the others goes on."""
        after = Publisher(registry, now, self._last)
        after.take_over(self)
        self._registry, self._order = registry, after._order
        self._trusted, self._healthy = after._trusted, after._healthy

    def update(self, states: States, now: float, unix: float = 0.0) -> Table | None:
        """A new table where one is due. Its revision is that of the last one plus one.

        `unix`: the present Unix time.
        """
        self._order = reorder(self._order, region_rtts(states))
        self._healthy = self._find_healthy(states, unix if now >= self._warm_until else 0.0)
        behind_bad_ways = {key for key, target in states.items() if target.behind_bad_way}
        suspects = {key for key, target in states.items() if target.suspect}
        closes = any(service.close_dead for service in self._registry.services)
        dead = {key for key, target in states.items() if target.is_dead} if closes else set()
        services = steer(
            self._registry, self._healthy, self._order, behind_bad_ways, suspects, dead
        )
        if not self._due(services, states, now):
            return None
        self._last = Table(
            revision=self._last.revision + 1 if self._last else 1,
            node=self._registry.node,
            bind=self._registry.bind,
            services=services,
            outliers=self._registry.outliers,
            dialing=self._registry.dialing,
            logging=self._registry.logging,
        )
        self._published_at = now
        return self._last

    def _find_healthy(self, states: States, unix: float) -> Healthy:
        """What is up, or was and is not known to be otherwise.

        What a node finds when it is new has been up for long, as far as it knows (`unix` is 0):
        slow start is for what comes up beside others.
        """
        before, trusted = self._healthy, self._trusted
        return {
            key: before.get(key, unix)
            for key, target in states.items()
            if target.state is State.UP or (target.state is State.UNKNOWN and key in trusted)
        }

    def _due(self, services: tuple[Service, ...], states: States, now: float) -> bool:
        if self._last is None:
            # A first table while the probes are still out would refuse users for no reason.
            known = all(target.state is not State.UNKNOWN for target in states.values())
            served = all(service.regions for service in services)
            return known or served or now >= self._settled_at
        last, registry = self._last, self._registry
        head = (registry.node, registry.bind, registry.outliers, registry.dialing, registry.logging)
        if (last.node, last.bind, last.outliers, last.dialing, last.logging) != head:
            return True
        if last.services == services:
            return False
        only_order = _unordered(services) == _unordered(last.services)
        return not only_order or now - self._published_at >= REORDER_INTERVAL


def covers(registry: Registry, last: Table) -> bool:
    """Whether a registry has every worker of a table, of services that there are still."""
    known = {(t.key.region, t.key.worker, str(t.endpoint.host)) for t in registry.targets}
    names = {service.name for service in registry.services}
    return all(
        (region.region, target.worker, target.address) in known
        for service in last.services
        if service.name in names
        for region in service.regions
        for target in region.workers
    )


def _settling_time(registry: Registry) -> float:
    """Seconds after which each target must have been found up or down."""
    probes = [target.probe for target in registry.targets]
    return SPREAD + max(
        (max(probe.rise, probe.fall) * (probe.interval + probe.timeout) for probe in probes),
        default=0.0,
    )


def _unordered(services: tuple[Service, ...]) -> tuple[Service, ...]:
    return tuple(
        replace(service, regions=tuple(sorted(service.regions, key=lambda r: r.region)))
        for service in services
    )


def _targets_in(last: Table, registry: Registry) -> dict[TargetKey, float]:
    """The targets of a table that are still where they were, and since when they are up."""
    since: dict[tuple[str, str, str, int], float] = {}
    for service in last.services:  # only a service with a slow start tells
        for region in service.regions:
            for target in region.workers:
                place = (region.region, target.worker, target.address, target.port)
                since[place] = max(target.since, since.get(place, 0.0))
    return {key: since[place] for key, place in _endpoints(registry).items() if place in since}


def _endpoints(registry: Registry) -> dict[TargetKey, tuple[str, str, str, int]]:
    """Where each target is."""
    return {
        target.key: (
            target.key.region,
            target.key.worker,
            str(target.endpoint.host),
            target.endpoint.port,
        )
        for target in registry.targets
    }


def _order_in(last: Table, registry: Registry) -> tuple[str, ...]:
    seen = [region.region for service in last.services for region in service.regions]
    known = dict.fromkeys(name for name in seen if name in registry.regions)
    return tuple(dict.fromkeys((*known, *registry.regions)))
