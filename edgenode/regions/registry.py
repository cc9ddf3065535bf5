"""Where the workers are, and who may use them: a frozen snapshot of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from edgenode.config import Config, Endpoint, RegionProbe, schema
from edgenode.config.values import Address
from edgenode.steering.table import Bind


class TargetKey(NamedTuple):
    """One worker's port; health and distance are known for each."""

    region: str
    worker: str
    port: int

    def __str__(self) -> str:
        return f"{self.region}/{self.worker}:{self.port}"


@dataclass(frozen=True)
class Target:
    key: TargetKey
    endpoint: Endpoint
    probe: RegionProbe


@dataclass(frozen=True)
class Registry:
    """What is steered where. All in the configuration's order."""

    node: str
    bind: Bind
    services: tuple[schema.Service, ...]
    regions: tuple[str, ...]
    """Those that some service may use."""
    targets: tuple[Target, ...]

    def targets_of(self, service: schema.Service) -> tuple[Target, ...]:
        """The targets that a service may use."""
        return tuple(
            target
            for target in self.targets
            if target.key.port == service.port
            and (not service.regions or target.key.region in service.regions)
        )


def from_config(config: Config, bind: Bind) -> Registry:
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
        Target(TargetKey(region.name, worker.name, port), Endpoint(address, port), region.probe)
        for region in config.regions
        for worker in region.workers
        if (address := _usable(worker, bind)) is not None
        for port in ports.get(region.name, ())
    )
    regions = tuple(region.name for region in config.regions if region.name in ports)
    return Registry(config.node.name, bind, config.services, regions, targets)


def _usable(worker: schema.Worker, bind: Bind) -> Address | None:
    own = {4: bind.ipv4, 6: bind.ipv6}
    return next((a for a in worker.addresses if bind.device is None or own[a.version]), None)
