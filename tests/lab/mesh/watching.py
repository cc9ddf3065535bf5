"""A look at the paths as control takes it: its two keepers in a thread of a node's namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, cast

from edgenode.config import Config
from edgenode.config.schema import Mesh
from edgenode.config.values import Address
from edgenode.control.mesh import MeshKeeper
from edgenode.control.paths import PathKeeper
from edgenode.lab import netns
from edgenode.regions import Regions
from tests.lab.loops import at_work
from tests.lab.mesh.pair import Node
from tests.unit.regions.worlds import config

QUICK = {"interval": "300ms", "full_interval": "300ms", "timeout": "200ms"}
ANYBODY = {"net.ipv4.ping_group_range": "0 2147483647"}


@dataclass
class Watch:
    notes: list[str] = field(default_factory=list)
    workers: dict[Address, float | None] = field(default_factory=dict)
    """What the regions' probes would say."""
    keeper: PathKeeper | None = None

    def reached(self) -> Mapping[Address, float | None]:
        """As regions would tell."""
        return dict(self.workers)

    def ask(self, addresses: Iterable[Address]) -> None:
        """As regions would; they are asked all the time."""

    def look(self) -> None:
        """As regions would."""

    @property
    def path(self) -> Mapping[str, Any]:
        """The first peer's."""
        assert self.keeper
        return self.keeper.status()[0]

    def problem(self, address: str) -> str | None:
        """Why the way to an address is no good."""
        assert self.keeper
        return self.keeper.problem(ip_address(address))


def configuration(node: Node, other: Node, paths: Mapping[str, Any]) -> Config:
    """A node's, with its part of the mesh."""
    mesh = Mesh.model_validate({**node.config(other), "paths": paths})
    update = {"mesh": mesh.model_copy(update={"private_key_file": node.key_file})}
    return config().model_copy(update=update)


@contextmanager
def watching(node: Node, other: Node, **paths: Any) -> Iterator[Watch]:
    """The keepers at work in `node`. Echo sockets are open to all there."""
    netns.sysctl(node.namespace, ANYBODY)
    watch = Watch()

    def note(kind: str, subject: str, text: str) -> None:
        watch.notes.append(f"{kind} {subject} {text}")

    async def both(mesh: MeshKeeper, paths: PathKeeper) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(mesh.run())
            tasks.create_task(paths.run())

    def begin() -> tuple[Watch, Coroutine[Any, Any, None]]:
        taken = configuration(node, other, {**QUICK, **paths})
        mesh = MeshKeeper(taken, note)
        watch.keeper = PathKeeper(taken, mesh, lambda: cast(Regions, watch), note)
        return watch, both(mesh, watch.keeper)

    with at_work(node.namespace, begin):
        yield watch
