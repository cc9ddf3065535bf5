"""Two nodes on one link, each with a wireguard-go of its own, as the lab or a unit starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from edgenode.config import Mesh as MeshConfig
from edgenode.config.values import Endpoint
from edgenode.control.mesh import MeshKeeper
from edgenode.lab import netns
from edgenode.lab.waiting import wait_until
from edgenode.mesh import Mesh, PeerStatus
from edgenode.mesh.resolver import LookUp
from edgenode.mesh.state import Change
from edgenode.mesh.uapi import socket_path
from tests.lab.loops import at_work
from tests.unit.regions import worlds

PORT = 8080

_TOML = """\
[node]
name = "here"
run_dir = "{state}/run"
state_dir = "{state}"

[bgp]
asn = 64700
router_id = "192.0.2.250"
[[bgp.neighbors]]
name = "transit"
address = "192.0.2.254"
asn = 64601

[[groups]]
name = "web"
prefixes = ["203.0.113.0/24"]
addresses = ["203.0.113.1"]
checks = ["proxy"]

[[checks]]
name = "proxy"
type = "tcp"
target = "203.0.113.1:80"

[mesh]
device = "{device}"
addresses = ["{v4}", "{v6}"]
private_key_file = "{key}"

[[mesh.peers]]
name = "{peer}"
public_key = "{public_key}"
endpoint = "{endpoint}"
allowed = ["{peer_v4}/32", "{peer_v6}/128"]
keepalive = "1s"
"""


@dataclass
class Node:
    side: str
    v4: str
    v6: str
    underlay: str
    state: Path
    wireguard: subprocess.Popen[bytes] | None = None
    extra: list[dict[str, Any]] = field(default_factory=list)
    """More peers than the other node."""
    fields: dict[str, Any] = field(default_factory=dict)
    """More of the other node's peer."""
    outside: int = 4
    """The family that the tunnel runs through."""
    look_up: LookUp | None = None
    """What resolves names; None: the system."""

    @property
    def namespace(self) -> str:
        return f"t-mesh-{os.getpid()}-{self.side}"

    @property
    def device(self) -> str:
        """UAPI sockets know no namespaces, so the name is this test run's own."""
        return f"tm{os.getpid()}{self.side}"

    @property
    def underlay6(self) -> str:
        return f"2001:db8:b::{self.underlay.rpartition('.')[2]}"

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(ip_address(self.underlay if self.outside == 4 else self.underlay6), 51820)

    @property
    def veth(self) -> str:
        return f"tv{self.side}"

    def start_wireguard(self) -> None:
        with netns.inside(self.namespace):
            self.wireguard = subprocess.Popen(
                ["wireguard-go", "-f", self.device],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        wait_until(socket_path(self.device).exists, 10, f"wireguard-go on {self.device}")

    def stop_wireguard(self) -> None:
        if self.wireguard is not None:
            self.wireguard.terminate()
            self.wireguard.wait(10)
            self.wireguard = None

    def config(self, other: Node) -> dict[str, Any]:
        """The [mesh] of this node."""
        peer = {
            "name": other.side,
            "public_key": other.public_key,
            "endpoint": str(other.endpoint),
            "allowed": [f"{other.v4}/32", f"{other.v6}/128"],
            "keepalive": "1s",
            **self.fields,
        }
        return {
            "device": self.device,
            "addresses": [self.v4, self.v6],
            "private_key_file": str(self.key_file),
            "peers": [peer, *self.extra],
        }

    def mesh(self, other: Node) -> Mesh:
        return Mesh(MeshConfig.model_validate(self.config(other)), self.key_file)

    def command(self, other: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The `edgenode` command inside, on a configuration with the same mesh."""
        config = self.state / f"{self.side}.toml"
        config.write_text(
            _TOML.format(
                state=self.state,
                key=self.key_file,
                device=self.device,
                v4=self.v4,
                v6=self.v6,
                peer=other.side,
                public_key=other.public_key,
                endpoint=other.endpoint,
                peer_v4=other.v4,
                peer_v6=other.v6,
            )
        )
        with netns.inside(self.namespace):
            running = subprocess.Popen(
                [sys.executable, "-m", "edgenode.cli", "--config", str(config), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        out, err = running.communicate(timeout=30)
        return subprocess.CompletedProcess(running.args, running.returncode, out, err)

    @property
    def key_file(self) -> Path:
        return self.state / f"{self.side}.key"

    @property
    def public_key(self) -> str:
        config = MeshConfig.model_validate({"addresses": [self.v4]})
        return Mesh(config, self.key_file).public_key

    def ensure(self, other: Node) -> tuple[Change, ...]:
        with netns.inside(self.namespace):
            return self.mesh(other).ensure()

    def observe(self, other: Node) -> PeerStatus:
        with netns.inside(self.namespace):
            return self.mesh(other).observe().peers[0]

    def nft(self, rules: str) -> str:
        return netns.run(["nft", "-f", "-"], text=rules, namespace=self.namespace)

    def dial(self, address: str, timeout: float = 5.0) -> socket.socket:
        with netns.inside(self.namespace):
            return socket.create_connection((address, PORT), timeout)


@contextmanager
def pair(state: Path, outside: int = 4) -> Iterator[tuple[Node, Node]]:
    """An edge and a worker: linked, devices started, not yet ensured."""
    edge = Node("a", "198.51.100.193", "2001:db8:ffff:1::1", "192.0.2.1", state)
    worker = Node("b", "198.51.100.201", "2001:db8:ffff:f1::1", "192.0.2.2", state)
    edge.outside = worker.outside = outside
    nodes = (edge, worker)
    try:
        for node in nodes:
            netns.create(node.namespace)
        link = f"link add {edge.veth} type veth peer name {worker.veth} netns {worker.namespace}"
        netns.configure(edge.namespace, [link])
        for node in nodes:
            commands = [
                "link set lo up",
                f"addr add {node.underlay}/24 dev {node.veth}",
                f"addr add {node.underlay6}/64 dev {node.veth} nodad",
                f"link set {node.veth} up",
            ]
            netns.configure(node.namespace, commands)
            node.start_wireguard()
        if outside == 6:
            wait_until(lambda: _reaches(edge, worker), 10, "IPv6 on the link")
        yield edge, worker
    finally:
        for node in nodes:
            node.stop_wireguard()
            netns.remove(node.namespace)


def _reaches(node: Node, other: Node) -> bool:
    """A link is up a moment before IPv6 is on it: a first handshake would be lost, for 5 s."""
    with netns.inside(other.namespace):
        receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with netns.inside(node.namespace):
        sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.settimeout(0.05)
        receiver.bind((other.underlay6, 0))
        try:
            sender.sendto(b"x", receiver.getsockname())
            return bool(receiver.recv(1))
        except OSError:
            return False


@contextmanager
def server(node: Node, seen: list[str]) -> Iterator[None]:
    """Accepts on the node's mesh addresses, notes who calls, and echoes."""
    stopping = threading.Event()

    def echo(stream: socket.socket) -> None:
        with stream:
            try:
                while data := stream.recv(65536):
                    stream.sendall(data)
            except OSError:
                return  # a probe's reset, or the end of the test

    def accept(listener: socket.socket) -> None:
        while not stopping.is_set():
            try:
                stream, address = listener.accept()
            except TimeoutError:
                continue
            stream.settimeout(10)
            seen.append(str(getattr(ip_address(address[0]), "ipv4_mapped", None) or address[0]))
            threading.Thread(target=echo, args=(stream,), daemon=True).start()

    with netns.inside(node.namespace):
        listener = socket.create_server(
            ("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64
        )
    with listener:
        listener.settimeout(0.1)
        thread = threading.Thread(target=accept, args=(listener,))
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join(5)


@contextmanager
def talking(node: Node, address: str) -> Iterator[list[float]]:
    """One connection that asks and waits for the echo, all the time: seconds of each round."""
    rounds: list[float] = []
    stop = threading.Event()

    def talk() -> None:
        with node.dial(address) as stream:
            while not stop.is_set():
                began = time.monotonic()
                stream.sendall(b"x" * 1000)
                left = 1000
                while left:
                    data = stream.recv(left)
                    assert data, "the connection was ended"
                    left -= len(data)
                rounds.append(time.monotonic() - began)
                time.sleep(0.001)

    with ThreadPoolExecutor(1) as thread:
        talk_ended = thread.submit(talk)
        try:
            wait_until(lambda: len(rounds) > 10 or talk_ended.done(), 10, "a first round")
            yield rounds
        finally:
            stop.set()
            talk_ended.result(30)


@contextmanager
def kept(edge: Node, worker: Node, notes: list[str]) -> Iterator[MeshKeeper]:
    """Control's keeper of the edge's mesh at work, in a thread of the edge's namespace."""

    def begin() -> tuple[MeshKeeper, Coroutine[Any, Any, None]]:
        keeper = MeshKeeper(
            worlds.config(mesh=edge.config(worker)), lambda *note: notes.append(" ".join(note))
        )
        if edge.look_up is not None:
            keeper._resolver._look_up = edge.look_up
        return keeper, keeper.run()

    with at_work(edge.namespace, begin) as keeper:
        yield keeper
