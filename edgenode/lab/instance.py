"""A lab: put up, looked at, disturbed, taken down."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from edgenode.lab import build, cleanup, delays, state
from edgenode.lab.disturb import Disturbed
from edgenode.lab.errors import LabError
from edgenode.lab.guard import Guard
from edgenode.lab.lock import Lock
from edgenode.lab.names import check_lab
from edgenode.lab.nodes import edge
from edgenode.lab.topology import Topology, plan

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    pass


class Lab(Disturbed):
    """A small internet on this machine.

        with Lab("demo") as lab:
            lab.up(print)
            …

    Leaving the block takes the lab down, however it is left; should this process die, a guard
    does it. After `keep()` the lab stays, to be taken over by `attach` or removed by `down`.
    Every method raises LabError, in a sentence for the operator.
    """

    def __init__(
        self,
        name: str = "demo",
        topology: Topology | None = None,
        settings: edge.Settings | None = None,
    ) -> None:
        wanted = topology or plan(delays.built_in())
        super().__init__(name, state.State(wanted, settings or edge.Settings()))
        self._lock = Lock(name)
        self._guard: Guard | None = None

    @classmethod
    def attach(cls, name: str) -> Self:
        """Take over a lab that is up and that nobody owns: leaving its block leaves it as it is."""
        check_lab(name)
        lock = Lock(name)
        lock.acquire()
        try:
            found = state.load(name)
            if not found.up:
                raise LabError(f"lab {name!r} is a left-over: remove it with `edgenode lab down`")
            lab = cls(name, found.topology, found.settings)
        except BaseException:
            lock.release()
            raise
        lab._state, lab._lock = found, lock
        lab._delay_links = build.delay_links(lab, found.netem)
        return lab

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._guard is not None:
            self.down()
        self._lock.release()

    # Up and down

    def up(self, progress: Progress = _silent, edges: bool = True) -> None:
        """Build the lab, and return when every edge is announced and every user is served.

        What an earlier lab of this name left is removed first. With `edges=False` the edges are
        there, attached and empty.
        """
        self._lock.acquire()
        if cleanup.leftovers(self.name):
            progress("removing what an earlier lab of this name left")
            cleanup.clean(self.name)
        self._guard = Guard(self._lock)
        self.run_directory.mkdir(mode=0o700, parents=True)
        for node in (*self.topology.nodes,):
            self.directory(node.name).mkdir(mode=0o700)
        progress("namespaces and links")
        build.namespaces(self)
        self._state.netem, self._delay_links = build.links(self)
        how = "netem" if self._state.netem else "the lab's own delay line"
        progress(f"{len(self.topology.nodes)} nodes, delays between cities by {how}")
        self._start_nodes(progress, edges)
        self._state.up = True
        self.save()

    def _start_nodes(self, progress: Progress, edges: bool) -> None:
        public_keys = build.make_keys(self)
        kernel = build.has_wireguard(self)
        progress("transits, regions and edges" if edges else "transits and regions")
        tasks: list[Callable[[], None]] = []
        if edges:
            tasks += [
                partial(build.start_edge, self, node, public_keys, kernel)
                for node in self.topology.edges
            ]
        tasks += [partial(build.start_transit, self, node) for node in self.topology.transits]
        tasks += [
            partial(build.start_region, self, node, public_keys, kernel)
            for node in self.topology.regions
        ]
        build.in_parallel(tasks)
        progress("BGP sessions")
        self.wait_sessions(edges=edges)
        if edges:
            progress("announcements")
            for node in self.topology.edges:
                self.wait_announced(node.name)
            progress("users are served")
            for group in self.topology.groups:
                for user in self.topology.users:
                    self.wait_served(user.name, group)

    def keep(self) -> None:
        """Let the lab stay when this process ends."""
        self.save()
        if self._guard is not None:
            self._guard.stand_down()
            self._guard = None

    def down(self) -> None:
        """Remove the lab: processes, namespaces, files. It may be called again."""
        if self._lock.descriptor < 0:
            self._lock.acquire()
        cleanup.clean(self.name)
        for child in self._processes.values():
            child.wait(5)
        self._processes.clear()
        if self._guard is not None:
            self._guard.stand_down()
            self._guard = None
        self._lock.release()
