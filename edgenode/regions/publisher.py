"""When a new steering table is due. Pure: states and the time in, a table or nothing out.

Health changes go out at once; an order that only follows distances at most every few seconds.
"""

from __future__ import annotations

from dataclasses import replace

from edgenode.health.risefall import State
from edgenode.health.schedule import SPREAD
from edgenode.regions.ranking import States, region_rtts, reorder, steer
from edgenode.regions.registry import Registry, TargetKey
from edgenode.steering.table import Service, Table

REORDER_INTERVAL = 5.0
"""Seconds between two tables of which only the order differs."""


class Publisher:
    """Remembers the last table and the order of the regions."""

    def __init__(self, registry: Registry, now: float, last: Table | None = None) -> None:
        """`last`: the table that was in force before this process.

        Its revision goes on, its order stays until there is better, and its targets count as
        healthy until the probes have found out, so that a restart steers nobody away.
        """
        self._registry = registry
        self._last = last
        self._trusted = _targets_in(last, registry) if last else frozenset[TargetKey]()
        self._order = _order_in(last, registry) if last else registry.regions
        self._settled_at = now + _settling_time(registry)
        self._published_at = now - REORDER_INTERVAL

    def take(self, registry: Registry) -> None:
        """Other targets, of the same services and regions."""
        self._registry = registry
        if self._last:
            self._trusted |= _targets_in(self._last, registry)

    @property
    def table(self) -> Table | None:
        """The last table."""
        return self._last

    @property
    def order(self) -> tuple[str, ...]:
        """All regions, nearest first; where a region that is down will come back to."""
        return self._order

    def update(self, states: States, now: float) -> Table | None:
        """A new table where one is due. Its revision is that of the last one plus one."""
        self._order = reorder(self._order, region_rtts(states))
        healthy = {
            key
            for key, target in states.items()
            if target.state is State.UP or (target.state is State.UNKNOWN and key in self._trusted)
        }
        services = steer(self._registry, healthy, self._order)
        if not self._due(services, states, now):
            return None
        self._last = Table(
            revision=self._last.revision + 1 if self._last else 1,
            node=self._registry.node,
            bind=self._registry.bind,
            services=services,
        )
        self._published_at = now
        return self._last

    def _due(self, services: tuple[Service, ...], states: States, now: float) -> bool:
        if self._last is None:
            # A first table while the probes are still out would refuse users for no reason.
            known = all(target.state is not State.UNKNOWN for target in states.values())
            served = all(service.regions for service in services)
            return known or served or now >= self._settled_at
        last = self._last
        if (last.node, last.bind, last.services) == (
            self._registry.node,
            self._registry.bind,
            services,
        ):
            return False
        only_order = last.bind == self._registry.bind and _unordered(services) == _unordered(
            last.services
        )
        return not only_order or now - self._published_at >= REORDER_INTERVAL


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


def _targets_in(last: Table, registry: Registry) -> frozenset[TargetKey]:
    present = {
        (region.region, target.worker, target.address, target.port)
        for service in last.services
        for region in service.regions
        for target in region.workers
    }
    return frozenset(
        target.key
        for target in registry.targets
        if (
            target.key.region,
            target.key.worker,
            str(target.endpoint.host),
            target.endpoint.port,
        )
        in present
    )


def _order_in(last: Table, registry: Registry) -> tuple[str, ...]:
    seen = [region.region for service in last.services for region in service.regions]
    known = dict.fromkeys(name for name in seen if name in registry.regions)
    return tuple(dict.fromkeys((*known, *registry.regions)))
