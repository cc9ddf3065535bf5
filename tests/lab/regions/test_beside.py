"""Nothing to a worker leaves beside the tunnel, whatever becomes of it under load.

Packets are captured on all devices of the edge while routes, addresses and the device itself are
taken away and come back, and relays and probes go on dialing.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edgenode.config import Config
from edgenode.firewall import render
from edgenode.lab import netns
from edgenode.lab.capture import Capture
from edgenode.lab.segments import Segment, dissect, frames
from edgenode.lab.waiting import wait_until
from edgenode.steering.table import Bind, RegionTargets, Service, Table, Target
from tests.lab.mesh.pair import PORT, Node, pair, server
from tests.lab.regions.test_tunnel import running
from tests.unit.regions.worlds import config
from tests.unit.steering.process import Control, Steering

SERVICE = ("203.0.113.1", 80)
RST = 0x04
OUTGOING = 4
"""Of LINUX_SLL2: what this host sent."""


def table(edge: Node, worker: Node) -> Table:
    targets = (Target("v4", worker.v4, PORT), Target("v6", worker.v6, PORT))
    service = Service(
        "web", ("203.0.113.1:80",), "none", 0.5, 60.0, (RegionTargets("fra", targets),)
    )
    return Table(1, "lon1", Bind(edge.device, edge.v4, edge.v6), (service,))


@contextmanager
def load(edge: Node, served: list[float]) -> Iterator[None]:
    """Users that connect, ask, and hold on as long as they are answered."""
    stop = threading.Event()

    def use() -> None:
        with netns.inside(edge.namespace):
            while not stop.is_set():
                with suppress(OSError), socket.create_connection(SERVICE, 1.0) as user:
                    user.settimeout(1.0)
                    for _ in range(50):
                        user.sendall(b"x" * 2000)
                        if stop.is_set() or not user.recv(4000):
                            break
                        served.append(time.monotonic())
                        time.sleep(0.005)
                time.sleep(0.005)

    users = [threading.Thread(target=use) for _ in range(8)]
    for user in users:
        user.start()
    try:
        yield
    finally:
        stop.set()
        for user in users:
            user.join(10)


def firewall(edge: Node, worker: Node) -> None:
    found: Config = config(mesh=edge.config(worker), firewall={"management": ["192.0.2.128/25"]})
    assert found.firewall
    edge.nft(render(found, found.firewall))


def index(edge: Node) -> int:
    """Of the tunnel's device, which is another one each time that it is made."""
    with netns.inside(edge.namespace):
        return socket.if_nametoindex(edge.device)


def serves(served: list[float]) -> None:
    count = len(served)
    wait_until(lambda: len(served) > count + 20, 10, "users are served")


def disturb(edge: Node, worker: Node, served: list[float]) -> None:
    """Each in turn; users are served again before the next."""
    device = edge.device
    for trouble in (
        f"route del {worker.v4}/32 dev {device}; route del {worker.v6}/128 dev {device}",
        f"addr del {edge.v4}/32 dev {device}",
        f"addr del {edge.v6}/128 dev {device}",
        f"link set {device} down",
    ):
        serves(served)
        netns.configure(edge.namespace, trouble.split("; "))
        time.sleep(0.4)
        edge.ensure(worker)
    serves(served)
    edge.stop_wireguard()
    time.sleep(0.4)
    edge.start_wireguard()
    edge.ensure(worker)
    serves(served)


def beside(path: Path, tunnels: set[int]) -> list[Segment | bytes]:
    """What was sent to the worker's mesh addresses by another device than these."""
    found: list[Segment | bytes] = []
    for moment, _, frame in frames(path):
        (device,) = struct.unpack_from("!I", frame, 4)
        if frame[10] == OUTGOING and device not in tunnels:
            found.append(dissect(moment, frame[20:]) or frame[20:])
    return found


@pytest.mark.parametrize("filtered", [True, False], ids=["with the firewall", "without"])
def test_nothing_leaves_beside_the_tunnel_whatever_is_taken_away(
    tmp_path: Path, filtered: bool
) -> None:
    served: list[float] = []
    with pair(tmp_path) as (edge, worker):
        edge.ensure(worker)
        worker.ensure(edge)
        tunnels = {index(edge)}
        netns.configure(
            edge.namespace,
            [
                f"addr add {SERVICE[0]}/32 dev lo",
                f"route add default via {worker.underlay}",
                f"route add default via {worker.underlay6}",
            ],
        )
        if filtered:
            firewall(edge, worker)
        steering = Steering(tmp_path)
        capture = Capture(
            edge.namespace,
            tmp_path / "edge.pcap",
            f"dst host {worker.v4} or dst host {worker.v6}",
        )
        try:
            with netns.inside(edge.namespace):
                steering.start()
            wait_until(steering.socket.exists, 10, "steering")
            with Control(steering.socket) as control:
                assert control.publish(table(edge, worker))["type"] == "applied"
            with server(worker, []), running(edge, worker, []), load(edge, served):
                disturb(edge, worker, served)
            tunnels.add(index(edge))
            # What is not ours and knows no device: it does leave, or the firewall drops it.
            netns.configure(edge.namespace, [f"route del {worker.v4}/32 dev {edge.device}"])
            before = time.time()
            with suppress(OSError):
                edge.dial(worker.v4, timeout=0.2).close()
        finally:
            steering.kill()
            capture.stop()
        sent = beside(capture.path, tunnels)
        inside = sum(1 for _ in frames(capture.path)) - len(sent)
    assert inside > 1000, "the load went through the tunnel"
    late = [each for each in sent if isinstance(each, Segment) and each.time >= before]
    sent = [each for each in sent if each not in late]
    print(f"{inside} packets through the tunnel, {len(sent)} beside it")
    if filtered:
        assert sent == []
        assert late == []
    else:
        assert late, "the capture does see what leaves beside the tunnel"
        # The kernel's own, for connections whose device is gone; no byte of a user is in them.
        assert all(isinstance(e, Segment) and e.flags & RST and not e.payload for e in sent)
