"""What 1,000 workers and 200 peers cost control: a real one, with BIRD, in the lab.

`LIVE` of the peers are there, each a wireguard-go of its own, all in one namespace; each has its
share of the workers' addresses behind it, on which one process accepts connections. The others
have keys and endpoints, and nobody answers for them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgenode.api import client
from edgenode.lab import Lab, Layout, keys, netns, plan, tunnels, wait_until
from edgenode.lab.build import in_parallel, start_bird, start_tunnel
from edgenode.lab.delays import built_in
from edgenode.lab.nodes import edge
from edgenode.lab.nodes.region import MTU, PORT, outer
from edgenode.lab.python import environment
from edgenode.lab.topology import WORKER_PORT as PLANNED_PORT
from edgenode.lab.topology import Edge
from edgenode.places import control_socket, control_state
from tests.bench.scale import cpu

EDGE, FAR = "lon1", "far"
WORKER_PORT = 8090
REGIONS = 20
LIVE = 40
"""Peers with another end: many more devices than that take the kernel minutes."""
INTERVAL = 5.0
"""Seconds between two probes of a worker."""

LAYOUT = Layout(
    transits=("lon",), neighbors=(), edges=("lon",), regions=(), users=("par",), workers=1
)
ENDS = "par"
"""The node (a user of the plan) that has all the other ends."""

_ACCEPT = """
import socket
server = socket.create_server(("0.0.0.0", %d), backlog=1024)
while True:
    server.accept()[0].close()
"""


class Crowd:
    """The peers and their workers."""

    def __init__(self, lab: Lab, peers: int, workers: int) -> None:
        self.lab = lab
        self.peers = range(peers)
        self.live = self.peers[:LIVE]
        self.share = workers // len(self.live)
        self.ends = lab.directory(ENDS)
        node = lab.topology.node(EDGE)
        assert isinstance(node, Edge)
        self.edge = node
        self.mesh = f"{lab.name}-mesh"
        self.public: dict[int, str] = {}

    def device(self, peer: int) -> str:
        return f"{self.lab.name}-p{peer}"

    def address(self, peer: int, worker: int) -> str:
        return f"10.64.{peer}.{worker + 1}"

    def key(self, peer: int) -> Path:
        return self.ends / f"{peer}.key"

    def start_ends(self, public_key: str) -> None:
        """The live peers, with the edge as their only peer, and the workers."""
        space = self.lab.namespace(ENDS)
        self.public = {peer: keys.make(self.key(peer)) for peer in self.peers}
        # First: a wireguard-go that is told of so many addresses at once runs out of room for what
        # netlink says (ENOBUFS), and gives its device up.
        netns.configure(
            space,
            [
                f"addr add {self.address(peer, n)}/32 dev lo"
                for peer in self.live
                for n in range(self.share)
            ],
        )

        def start(peer: int) -> None:
            device = self.device(peer)
            self.lab.spawn(
                ENDS,
                device,
                ("wireguard-go", "-f", device),
                {"LOG_LEVEL": "error", "GOMAXPROCS": "1"},
            )
            wait_until(
                lambda: tunnels.answers(tunnels.control_socket(device)), 60, f"{device} is there"
            )
            mesh = self.edge.mesh[0]
            settings = (
                f"[Interface]\nPrivateKey = {self.key(peer).read_text().strip()}\n"
                f"ListenPort = {PORT + 1 + peer}\n"
                f"[Peer]\nPublicKey = {public_key}\nAllowedIPs = {mesh}/32\n"
            )
            netns.run(["wg", "setconf", device, "/dev/stdin"], text=settings, namespace=space)

        in_parallel([lambda peer=peer: start(peer) for peer in self.live])  # type: ignore[misc]
        commands = []
        for peer in self.live:
            device, table = self.device(peer), 1000 + peer
            commands += [f"link set {device} mtu {MTU} up"]
            # What a worker answers goes back through the tunnel that it belongs to.
            commands += [
                f"route add {self.edge.mesh[0]}/32 dev {device} table {table}",
                f"rule add from 10.64.{peer}.0/24 lookup {table}",
            ]
        netns.configure(space, commands)
        self.lab.spawn(ENDS, "workers", (sys.executable, "-c", _ACCEPT % WORKER_PORT))

    def configuration(self, device: str) -> str:
        """The edge's, with the crowd."""
        topology, directory = self.lab.topology, self.lab.directory(EDGE)
        text = edge.configuration(topology, self.edge, directory, device, {}, self.lab.settings)
        text = text.replace(f"port = {PLANNED_PORT}\n", f"port = {WORKER_PORT}\n")
        end = outer(topology, ENDS)
        for peer in self.peers:
            text += (
                f'\n[[mesh.peers]]\nname = "p{peer}"\npublic_key = "{self.public[peer]}"\n'
                f'endpoint = "{end}:{PORT + 1 + peer}"\nallowed = ["10.64.{peer}.0/24"]\n'
            )
        for region in range(REGIONS):
            text += f'\n[[regions]]\nname = "r{region}"\nprobe = {{ interval = {INTERVAL} }}\n'
            for peer in self.live[region::REGIONS]:
                for worker in range(self.share):
                    text += (
                        f'[[regions.workers]]\nname = "w{peer}-{worker}"\n'
                        f'addresses = ["{self.address(peer, worker)}"]\n'
                    )
        return text

    def start_edge(self) -> None:
        """BIRD and edgenode, all of it, on the edge."""
        lab, device = self.lab, self.mesh
        directory = lab.directory(EDGE)
        config = directory / "edgenode.toml"
        config.write_text(self.configuration(device))
        (directory / "run").mkdir(mode=0o700, exist_ok=True)
        start_tunnel(lab, EDGE, device)
        for daemon in ("lifeline", "steering", "exec-runner"):
            lab.spawn(EDGE, daemon, edge.daemon(config, daemon), environment())
        start_bird(lab, self.edge)
        lab.spawn(EDGE, "control", edge.daemon(config, "control"), environment())

    def workers_up(self) -> int:
        status = client.call(control_socket(self.lab.directory(EDGE) / "run"), "GET", "/v1/status")
        return sum(region["workers_up"] for region in status["regions"])


@contextmanager
def _devices(crowd: Crowd) -> Iterator[None]:
    """Sockets of the peers' devices do not stay behind."""
    try:
        yield
    finally:
        crowd.lab.down()
        tunnels.remove_sockets({crowd.mesh, *(crowd.device(peer) for peer in crowd.live)})


def measure(
    peers: int, workers: int, seconds: float, note: Callable[[str], None]
) -> dict[str, Any]:
    """CPU of control, in percent of one core, while nothing happens. Raises LabError."""
    with Lab("crowd", plan(built_in(), LAYOUT)) as lab:
        lab.up(note, edges=False)
        crowd = Crowd(lab, peers, workers)
        with _devices(crowd):
            note(f"{peers} peers, {workers} workers")
            public = keys.make(control_state(lab.directory(EDGE) / "state") / "wireguard.key")
            begin = time.monotonic()
            crowd.start_ends(public)
            crowd.start_edge()
            wait_until(lambda: _up(crowd) == workers, 60, f"{workers} workers are up", every=1.0)
            note(f"all up after {time.monotonic() - begin:.0f} s; CPU over {seconds:g} s")
            time.sleep(2 * INTERVAL)
            pids = {name: lab.main_pid(EDGE, name) for name in ("control", "bird", "wireguard")}
            before = {name: cpu(pid) for name, pid in pids.items()}
            begin = time.monotonic()
            time.sleep(seconds)
            passed = time.monotonic() - begin
            percent = {
                name: round((cpu(pid) - before[name]) / passed * 100, 2)
                for name, pid in pids.items()
            }
    return {
        "peers": peers,
        "live_peers": len(crowd.live),
        "workers": workers,
        "interval_s": INTERVAL,
        "cpu_percent": percent,
    }


def _up(crowd: Crowd) -> int:
    try:
        return crowd.workers_up()
    except client.ControlAway:
        return 0
