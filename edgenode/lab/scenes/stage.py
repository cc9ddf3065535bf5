"""What a scene plays on: the lab, the captures, the narrator, and the questions that scenes ask."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from edgenode.lab.birdview import Route
from edgenode.lab.errors import LabTimeout
from edgenode.lab.instance import Lab
from edgenode.lab.scenes.narration import Narrator
from edgenode.lab.scenes.outcome import Claim, Outcome
from edgenode.lab.segments import hosts, packets
from edgenode.lab.topology import MESH, STATIC, WEB, Group, Topology
from edgenode.lab.users import Request
from edgenode.lab.waiting import wait_until
from edgenode.lab.wire import Update, updates

TRANSIT_CAPTURE = " or ".join(["tcp port 179", *(f"net {network}" for network in MESH)])


@dataclass
class Stage:
    """One lab, set for one scene after the other."""

    lab: Lab
    narrator: Narrator
    captures: Path
    """Directory of the captures: NODE.pcap for each transit (BGP, and what should have been in a
    tunnel) and each user, and marks.json."""
    marks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By scene: when the scene did what (UNIX time), and on whom."""

    @property
    def topology(self) -> Topology:
        return self.lab.topology

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Capture at every transit and user; at the end the marks lie beside the captures."""
        transits = [transit.name for transit in self.topology.transits]
        users = [user.name for user in self.topology.users]
        try:
            with (
                self.lab.captures(transits, self.captures, TRANSIT_CAPTURE),
                self.lab.captures(users, self.captures, "tcp port 80"),
            ):
                yield
        finally:
            (self.captures / "marks.json").write_text(json.dumps(self.marks, indent=2) + "\n")

    def mark(self, scene: str, name: str, value: Any = None) -> float:
        """Note what a figure is counted from; `value` absent: now. Returns now."""
        now = time.time()
        self.marks.setdefault(scene, {})[name] = now if value is None else value
        return now

    def updates(self, transit: str, edge: str, since: float) -> list[Update]:
        """What an edge told its transit since a moment, from the wire."""
        own = self.topology.uplink(edge).end(edge)
        addresses = {own.ipv4.ip, own.ipv6.ip}
        found = updates(self.captures / f"{transit}.pcap")
        return [u for u in found if u.time >= since and u.source in addresses]

    def in_the_clear(self, since: float) -> list[str]:
        """Packets of the mesh that passed a transit outside the tunnels since a moment."""
        found = []
        for transit in self.topology.transits:
            for at, packet in packets(self.captures / f"{transit.name}.pcap"):
                if at >= since and any(host in net for host in hosts(packet) for net in MESH):
                    found.append("{} to {}".format(*hosts(packet)) + f" at {transit.name}")
        return found

    def get(self, user: str, group: Group = WEB, version: int = 4, timeout: float = 5.0) -> Request:
        """One request of a user to a group's service address."""
        return self.lab.get(user, address(group, version), timeout=timeout)

    def edge_seen(self, user: str, group: Group) -> str | None:
        """Which edge answers a user now; None: none does."""
        body = self.get(user, group, timeout=1.0).body
        return body["edge"] if body else None

    def routes(self, transit: str, group: Group, version: int = 4) -> tuple[Route, ...]:
        """A transit's view of a group's prefix."""
        return self.lab.routes(transit, group.prefixes[0 if version == 4 else 1])

    def announced(self, edge: str, group: Group) -> bool:
        """Whether the edge's upstream has both prefixes of the group from it."""
        return all(self.lab.edge_route(edge, prefix) for prefix in group.prefixes)

    def command(self, edge: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `edgenode` on an edge."""
        return self.lab.edgenode(edge, *arguments)

    def status(self, edge: str) -> dict[str, Any]:
        """An edge's `edgenode status --json`."""
        answer: dict[str, Any] = json.loads(self.command(edge, "status", "--json").stdout)
        return answer

    def until(self, condition: Callable[[], Any], timeout: float, what: str) -> float | None:
        """Wait; the seconds that it took, None where the time was not enough."""
        start = time.monotonic()
        with self.narrator.waiting(f"waiting until {what}"):
            try:
                wait_until(condition, timeout, what)
            except LabTimeout:
                return None
        return time.monotonic() - start

    def claim(self, outcome: Outcome, text: str, holds: bool, detail: str = "") -> None:
        """Something that the scene must show."""
        claim = Claim(text, bool(holds), detail)
        outcome.claims.append(claim)
        self.narrator.claim(claim)

    def restored(self) -> bool:
        """Whether every edge announces every group: how a scene finds and leaves the stage."""
        return all(
            self.announced(edge.name, group)
            for edge in self.topology.edges
            for group in (WEB, STATIC)
        )


def address(group: Group, version: int) -> IPv4Address | IPv6Address:
    """A group's service address."""
    return group.addresses[0 if version == 4 else 1]


def first(found: list[Update], prefix: object, *, withdrawn: bool) -> float | None:
    """When a prefix was first withdrawn (or announced) in a list of updates."""
    for update in found:
        if str(prefix) in (update.withdrawn if withdrawn else update.announced):
            return update.time
    return None


def milliseconds(start: float, end: float | None) -> float | None:
    """Between two moments, rounded to microseconds."""
    return None if end is None else round((end - start) * 1000, 3)


def shown(value: float | None, unit: str = "ms") -> str:
    """A figure for people."""
    return "never" if value is None else f"{value:.1f} {unit}"
