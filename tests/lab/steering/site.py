"""A user, an edge and the workers of two regions, in network namespaces of their own.

The edge reaches all workers through one device, as through the mesh.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgenode.lab import netns
from edgenode.steering.proxyprotocol import Header
from edgenode.steering.table import Bind, RegionTargets, Service, Table
from tests.unit.steering.process import MAIN, Control
from tests.unit.steering.running import PATIENCE, Worker, read_all, reset

PORT = 80
SERVICE = {4: "203.0.113.1", 6: "2001:db8:113::1"}
USER = {4: "192.0.2.2", 6: "2001:db8:1::2"}
MESH = {4: "198.51.100.193", 6: "2001:db8:ffff:1::1"}
NEAR = {4: "198.51.100.201", 6: "2001:db8:ffff:f1::1"}
FAR = {4: "198.51.100.209", 6: "2001:db8:ffff:f2::1"}
BIND = Bind("mesh", MESH[4], MESH[6])

Seen = tuple[str, Header | None]
"""Whom a worker saw: the socket's address, and the header."""


@dataclass
class Site:
    directory: Path
    workers: dict[str, list[Worker]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    sick: set[str] = field(default_factory=set)
    """Addresses of workers that accept, and then reset."""
    process: subprocess.Popen[bytes] | None = None

    def namespace(self, name: str) -> str:
        return f"t-steering-{os.getpid()}-{name}"

    def ip(self, name: str, *commands: str) -> None:
        netns.configure(self.namespace(name), commands)

    def build(self) -> None:
        for name in ("user", "edge", "workers"):
            netns.create(self.namespace(name))
            self.ip(name, "link set lo up")
        for device, other in (("users", "user"), ("mesh", "workers")):
            peer = f"peer name edge netns {self.namespace(other)}"
            self.ip("edge", f"link add {device} type veth {peer}")
        self.ip(
            "edge",
            *(f"addr add {SERVICE[version]} dev lo" for version in (4, 6)),
            "addr add 192.0.2.1/24 dev users",
            "addr add 2001:db8:1::1/64 dev users nodad",
            "link set users up",
            f"addr add {MESH[4]} dev mesh",
            f"addr add {MESH[6]} dev mesh nodad",
            "link set mesh up",
            "route add 198.51.100.192/27 dev mesh",
            "route add 2001:db8:ffff::/48 dev mesh",
        )
        self.ip(
            "user",
            f"addr add {USER[4]}/24 dev edge",
            f"addr add {USER[6]}/64 dev edge nodad",
            "link set edge up",
            "route add default via 192.0.2.1",
            "route add default via 2001:db8:1::1",
        )
        self.ip(
            "workers",
            *(
                f"addr add {one[version]} dev edge nodad"
                for one in (NEAR, FAR)
                for version in (4, 6)
            ),
            "link set edge up",
            "route add 198.51.100.192/27 dev edge",
            "route add 2001:db8:ffff::/48 dev edge",
        )
        for region, hosts in (("near", NEAR), ("far", FAR)):
            with netns.inside(self.namespace("workers")):
                self.workers[region] = [
                    Worker(self._serve(region, hosts[version]), hosts[version])
                    for version in (4, 6)
                ]

    def _serve(self, region: str, host: str) -> Callable[[socket.socket, Header | None], None]:
        def serve(connection: socket.socket, header: Header | None) -> None:
            if host in self.sick:
                reset(connection)
                return
            self.seen.append((connection.getpeername()[0], header))
            connection.sendall(f"{region}:".encode() + read_all(connection))

        return serve

    def table(self, version: int, bind: Bind = BIND) -> Table:
        """Both regions; the workers of one family only."""
        regions = tuple(
            RegionTargets(region, (workers[0 if version == 4 else 1].target(f"{region}-1"),))
            for region, workers in self.workers.items()
        )
        listen = (f"{SERVICE[4]}:{PORT}", f"[{SERVICE[6]}]:{PORT}")
        return Table(1, "lon1", bind, (Service("web", listen, "v2", 3.0, 60.0, regions),))

    def start(self, relays: int = 1) -> None:
        for name in ("run", "state"):
            (self.directory / name).mkdir(exist_ok=True)
        arguments = [*(str(self.directory / name) for name in ("run", "state")), str(relays)]
        with netns.inside(self.namespace("edge")):
            self.process = subprocess.Popen(
                [sys.executable, "-c", MAIN, *arguments, str(self.directory / "log"), "0"],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def publish(self, table: Table) -> None:
        with Control(self.directory / "run" / "steering" / "steering.sock") as control:
            assert control.publish(table)["type"] == "applied"

    def connect(self, version: int) -> socket.socket:
        with netns.inside(self.namespace("user")):
            return socket.create_connection((SERVICE[version], PORT), PATIENCE)

    def ask(self, version: int, question: bytes = b"x") -> bytes:
        with self.connect(version) as user:
            user.sendall(question)
            user.shutdown(socket.SHUT_WR)
            return read_all(user)

    def cut(self, cut: bool) -> None:
        """What the near workers send is dropped silently, as in a tunnel that is cut; or not."""
        for version in (4, 6):
            action = "add" if cut else "del"
            rule = ["rule", action, "from", NEAR[version], "blackhole"]
            netns.run(["ip", f"-{version}", "-n", self.namespace("workers"), *rule])

    def stand_still(self, seconds: float) -> None:
        """Stop the supervisor, and it alone, for some time."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)
        for worker in (one for some in self.workers.values() for one in some):
            worker.close()
        for name in ("user", "edge", "workers"):
            netns.remove(self.namespace(name))


@contextmanager
def site(directory: Path, relays: int = 1) -> Iterator[Site]:
    made = Site(directory)
    try:
        made.build()
        made.start(relays)
        yield made
    finally:
        made.close()
