"""Two nodes on one link, each with a wireguard-go of its own, as the lab or a unit starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from edgenode.config import Mesh as MeshConfig
from edgenode.lab import netns
from edgenode.lab.waiting import wait_until
from edgenode.mesh import Mesh, PeerStatus
from edgenode.mesh.state import Change
from edgenode.mesh.uapi import socket_path

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
endpoint = "{underlay}:51820"
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

    @property
    def namespace(self) -> str:
        return f"t-mesh-{os.getpid()}-{self.side}"

    @property
    def device(self) -> str:
        """UAPI sockets know no namespaces, so the name is this test run's own."""
        return f"tm{os.getpid()}{self.side}"

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

    def mesh(self, other: Node) -> Mesh:
        peer = {
            "name": other.side,
            "public_key": other.public_key,
            "endpoint": f"{other.underlay}:51820",
            "allowed": [f"{other.v4}/32", f"{other.v6}/128"],
            "keepalive": "1s",
        }
        config = {
            "device": self.device,
            "addresses": [self.v4, self.v6],
            "peers": [peer, *self.extra],
        }
        return Mesh(MeshConfig.model_validate(config), self.key_file)

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
                underlay=other.underlay,
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
def pair(state: Path) -> Iterator[tuple[Node, Node]]:
    """An edge and a worker: linked, devices started, not yet ensured."""
    edge = Node("a", "198.51.100.193", "2001:db8:ffff:1::1", "192.0.2.1", state)
    worker = Node("b", "198.51.100.201", "2001:db8:ffff:f1::1", "192.0.2.2", state)
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
                f"link set {node.veth} up",
            ]
            netns.configure(node.namespace, commands)
            node.start_wireguard()
        yield edge, worker
    finally:
        for node in nodes:
            node.stop_wireguard()
            netns.remove(node.namespace)


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
