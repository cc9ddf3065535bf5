"""What is seen in a lab: the transits' routes, the users' requests, the wire."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from edgenode.lab import birdview, users
from edgenode.lab.birdview import Route
from edgenode.lab.capture import Capture
from edgenode.lab.daemons import Machines
from edgenode.lab.errors import LabError
from edgenode.lab.topology import Group
from edgenode.lab.waiting import wait_until

Prefix = IPv4Network | IPv6Network | str


class Observed(Machines):
    """The part of a lab that looks. Methods raise LabError."""

    def birdc(self, node: str, command: str) -> str:
        """The reply of a node's BIRD to a command."""
        return birdview.ask(self.directory(node) / "bird.ctl", command)

    def routes(self, transit: str, prefix: Prefix) -> tuple[Route, ...]:
        """A transit's routes to a prefix, the best first."""
        reply = self.birdc(transit, f"show route {prefix} all")
        numbers = {node.number: node.name for node in self.topology.edges}
        return birdview.parse_routes(reply, numbers)

    def best_edge(self, transit: str, prefix: Prefix) -> str | None:
        """The edge to which a transit sends its users; None when it knows none."""
        return next((r.edge for r in self.routes(transit, prefix) if r.best), None)

    def edge_route(self, edge_node: str, prefix: Prefix) -> Route | None:
        """What an edge announces to its transit, as the transit holds it; None when withdrawn."""
        routes = self.routes(self.transit_of(edge_node), prefix)
        own = (r for r in routes if r.protocol.startswith(f"{edge_node}_v"))
        return next(own, None)

    def transit_of(self, node: str) -> str:
        """The transit that an edge, region or user is attached to."""
        return self.topology.uplink(node).other(node).node

    def wait_sessions(self, edges: bool = True, timeout: float = 30.0) -> None:
        """Wait until every BGP session is established."""
        names = {node.name for node in self.topology.edges}

        for transit in self.topology.transits:
            wait_until(
                partial(self._sessions_up, transit.name, set() if edges else names),
                timeout,
                f"the BGP sessions of transit {transit.name} are established",
            )

    def _sessions_up(self, transit: str, without: set[str]) -> bool:
        self.check_alive()
        with contextlib.suppress(LabError):
            sessions = birdview.established(self.birdc(transit, "show protocols"))
            return all(
                up for name, up in sessions.items() if name.rpartition("_v")[0] not in without
            )
        return False

    def _announced(self, edge_node: str, prefix: Prefix) -> bool:
        self.check_alive()
        route = self.edge_route(edge_node, prefix)
        return route is not None and not route.drained

    def _withdrawn(self, edge_node: str, prefix: Prefix) -> bool:
        return self.edge_route(edge_node, prefix) is None

    def _served(self, user: str, address: users.Address) -> bool:
        return self.get(user, address, timeout=2).ok

    def wait_announced(
        self, edge_node: str, group: Group | None = None, timeout: float = 30
    ) -> None:
        """Wait until an edge announces its groups (or one), and not as drained, to its transit."""
        for wanted in (group,) if group else self.topology.groups:
            for prefix in wanted.prefixes:
                wait_until(
                    partial(self._announced, edge_node, prefix),
                    timeout,
                    f"{edge_node} announces {prefix}",
                )

    def wait_withdrawn(self, edge_node: str, group: Group, timeout: float = 30.0) -> None:
        """Wait until an edge's transit has neither prefix of a group from it any more."""
        for prefix in group.prefixes:
            wait_until(
                partial(self._withdrawn, edge_node, prefix),
                timeout,
                f"{edge_node} withdraws {prefix}",
            )

    def wait_served(self, user: str, group: Group, timeout: float = 30.0) -> None:
        """Wait until a user is served in both families."""
        for address in group.addresses:
            wait_until(
                partial(self._served, user, address),
                timeout,
                f"user {user} is served by {address}",
                every=0.1,
            )

    def get(
        self,
        user: str,
        address: users.Address,
        port: int = 80,
        path: str = "/",
        timeout: float = 5.0,
    ) -> users.Request:
        """One request of a user, on a new connection."""
        return users.get(self.namespace(user), address, port, path, timeout)

    def requests(
        self,
        user: str,
        address: users.Address,
        every: float = 0.01,
        duration: float | None = None,
        timeout: float = 5.0,
    ) -> users.Load:
        """Start a new request of a user every so many seconds, until `stop`."""
        options = ["--every", str(every)]
        return self._load(user, "requests", address, timeout, duration, options)

    def hold(
        self,
        user: str,
        address: users.Address,
        connections: int = 10,
        every: float = 0.1,
        duration: float | None = None,
        timeout: float = 5.0,
    ) -> users.Load:
        """Start to hold connections of a user, with a request on each every so many seconds;
        returns when all have been answered once."""
        options = ["--connections", str(connections), "--every", str(every)]
        load = self._load(user, "hold", address, timeout, duration, options)
        wait_until(
            lambda: load.opened() + len(load.held()) >= connections,
            every + timeout + 5,
            f"the {connections} connections of user {user} are open",
        )
        return load

    def _load(
        self,
        user: str,
        kind: str,
        address: users.Address,
        timeout: float,
        duration: float | None,
        options: list[str],
    ) -> users.Load:
        output = self.directory(user) / f"{kind}-{time.time_ns()}.jsonl"
        if duration is not None:
            options += ["--duration", str(duration)]
        target = users.endpoint(address, 80)
        space = self.namespace(user)
        command = users.load_command(kind, target, output, space, timeout, options)
        return users.Load(command, output, timeout)

    @contextlib.contextmanager
    def captures(
        self, nodes: Iterable[str], directory: Path, expression: str = ""
    ) -> Iterator[dict[str, Path]]:
        """Capture what passes the given nodes into DIRECTORY/NODE.pcap, for the block's time.

        The files are complete after the block.
        """
        with contextlib.ExitStack() as stack:
            files = {}
            for node in nodes:
                path = directory / f"{node}.pcap"
                running = Capture(self.namespace(node), path, expression)
                stack.callback(running.stop)
                files[node] = path
            yield files
