"""Where the workers are, and who may use them: a frozen snapshot of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from edgenode.config import Config, Endpoint, RegionProbe, Service, schema
from edgenode.config.values import Address
from edgenode.steering import table


class TargetKey(NamedTuple):
    """One worker's port; health and distance are known for each."""

    region: str
    worker: str
    port: int

    def __str__(self) -> str:
        return f"{self.region}/{self.worker}:{self.port}"


@dataclass(frozen=True)
class Region:
    """What holds for a whole region; limits are live connections from this node."""

    soft_limit: int | None = None
    hard_limit: int | None = None
    draining: bool = False


@dataclass(frozen=True)
class Target:
    """Where a worker's port is, how it is probed, and how much it may be given."""

    key: TargetKey
    endpoint: Endpoint
    probe: RegionProbe
    weight: int = 1
    soft_limit: int | None = None
    hard_limit: int | None = None
    draining: bool = False
    """Itself; its region may be, too."""

    def in_table(self, since: float = 0.0) -> table.Target:
        """As the steering table has it; `since` when it came up (Unix time, 0: long ago)."""
        return replace(self._in_table, since=since) if since else self._in_table

    @cached_property
    def _in_table(self) -> table.Target:
        # Always the same object: so tables of thousands of targets are soon compared.
        return table.Target(
            self.key.worker,
            str(self.endpoint.host),
            self.endpoint.port,
            self.weight,
            self.soft_limit,
            self.hard_limit,
        )


@dataclass(frozen=True)
class Registry:
    """What is steered where. All in the configuration's order."""

    node: str
    bind: table.Bind
    services: tuple[Service, ...]
    regions: Mapping[str, Region]
    """Those that some service may use."""
    targets: tuple[Target, ...]
    outliers: table.Outliers = table.DEFAULT_OUTLIERS
    dialing: table.Dialing = table.DEFAULT_DIALING
    logging: table.Logging = table.DEFAULT_LOGGING

    def of_worker(self, name: str) -> tuple[TargetKey, ...]:
        """The targets of a worker ("region/worker"); none if it is not known."""
        return self._by_worker.get(name, ())

    @cached_property
    def _by_worker(self) -> Mapping[str, tuple[TargetKey, ...]]:
        found: dict[str, tuple[TargetKey, ...]] = {}
        for target in self.targets:
            name = f"{target.key.region}/{target.key.worker}"
            found[name] = (*found.get(name, ()), target.key)
        return found

    def by_region(self, service: Service) -> Mapping[str, tuple[Target, ...]]:
        """The targets that a service may use, by region."""
        return self._by_service[service.name]

    def draining(self, target: Target) -> bool:
        """Whether a target is to get no new connections, as long as there are others."""
        return target.draining or self.regions[target.key.region].draining

    def for_new(
        self, service: Service
    ) -> Mapping[str, tuple[tuple[Target, ...], tuple[Target, ...]]]:
        """The same, those that take new connections apart from those that drain."""
        return self._for_new[service.name]

    @cached_property
    def _for_new(self) -> Mapping[str, Mapping[str, tuple[tuple[Target, ...], tuple[Target, ...]]]]:
        return {
            service: {
                region: (
                    tuple(target for target in targets if not self.draining(target)),
                    tuple(target for target in targets if self.draining(target)),
                )
                for region, targets in regions.items()
            }
            for service, regions in self._by_service.items()
        }

    @cached_property
    def _by_service(self) -> Mapping[str, Mapping[str, tuple[Target, ...]]]:
        by_place: dict[tuple[str, int], list[Target]] = {}
        for target in self.targets:
            by_place.setdefault((target.key.region, target.key.port), []).append(target)
        return {
            service.name: {
                region: tuple(by_place[region, service.port])
                for region in self.regions
                if service.may_use(region) and (region, service.port) in by_place
            }
            for service in self.services
        }


def from_config(config: Config, bind: table.Bind) -> Registry:
    """The registry that the configuration file holds.

    A worker is reached at its first address of a family in which `bind` has an address (any, when
    nothing is bound). One without is left out: it could only be reached outside the mesh.
    """
    ports: dict[str, list[int]] = {}
    for service in config.services:
        for region in config.regions_of(service):
            known = ports.setdefault(region.name, [])
            if service.port not in known:
                known.append(service.port)
    targets = tuple(
        Target(
            TargetKey(region.name, worker.name, port),
            Endpoint(address, port),
            region.probe,
            worker.weight,
            worker.soft_limit,
            worker.hard_limit,
            worker.draining,
        )
        for region in config.regions
        for worker in region.workers
        if (address := _usable(worker, bind)) is not None
        for port in ports.get(region.name, ())
    )
    regions = {
        region.name: Region(region.soft_limit, region.hard_limit, region.draining)
        for region in config.regions
        if region.name in ports
    }
    outliers = table.Outliers(**config.steering.outliers.model_dump())
    dialing = table.Dialing(**config.steering.dialing.model_dump())
    log = config.steering.access_log
    logging = table.Logging(log.sample, log.long_after)
    services = config.services
    return Registry(config.node.name, bind, services, regions, targets, outliers, dialing, logging)


def _usable(worker: schema.Worker, bind: table.Bind) -> Address | None:
    own = {4: bind.ipv4, 6: bind.ipv6}
    return next((a for a in worker.addresses if bind.device is None or own[a.version]), None)
