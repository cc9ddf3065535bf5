"""The mesh on real devices of wireguard-go, in namespaces of its own."""

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgenode.lab import netns
from edgenode.mesh import MeshError, MeshUnavailable
from edgenode.mesh.link import RTPROT_EDGENODE
from edgenode.mesh.state import AddRoute, RemovePeer, RemoveRoute, ResizeRoute, SetPeer
from edgenode.mesh.uapi import socket_path
from tests.lab.mesh.pair import Node, pair, server, talking


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    with pair(tmp_path) as (edge, worker):
        edge.ensure(worker)
        worker.ensure(edge)
        yield edge, worker


def addresses_and_routes(node: Node) -> str:
    shown = [
        netns.run(["ip", "-n", node.namespace, *what.split(), "show", "dev", node.device])
        for what in ("addr", "route", "-6 route")
    ]
    return "".join(shown)


def test_ensured_once_is_enough(nodes: tuple[Node, Node]) -> None:
    edge, worker = nodes
    assert edge.ensure(worker) == ()
    shown = addresses_and_routes(edge)
    assert "mtu 1420" in shown
    assert f"inet {edge.v4}/32" in shown
    assert f"inet6 {edge.v6}/128" in shown
    assert f"{worker.v4} proto {RTPROT_EDGENODE} scope link src {edge.v4}" in shown
    assert f"{worker.v6} proto {RTPROT_EDGENODE} src {edge.v6}" in shown
    assert not any(line.startswith("default") for line in shown.splitlines())


def test_the_command_makes_the_same_mesh_and_leaves_it_standing(tmp_path: Path) -> None:
    with pair(tmp_path) as (edge, worker):
        shown = edge.command(worker, "mesh", "up", "--json")
        assert shown.returncode == 0, shown.stderr
        said = json.loads(shown.stdout)
        assert (said["device"], said["public_key"]) == (edge.device, edge.public_key)
        assert said["changes"] > 0
        assert f"inet {edge.v4}/32" in addresses_and_routes(edge)
        assert edge.ensure(worker) == (), "control finds nothing to change"
        again = edge.command(worker, "mesh", "up")
        assert f"{edge.device} is up, nothing to change" in again.stdout
        edge.stop_wireguard()
        edge.start_wireguard()
        assert json.loads(edge.command(worker, "mesh", "up", "--json").stdout)["changes"]


def test_a_key_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pair(tmp_path) as (edge, worker):
        edge.key_file.write_text("damaged")
        edge.key_file.chmod(0o600)
        shown = edge.command(worker, "mesh", "up")
        assert shown.returncode == 1
        assert "is damaged" in shown.stderr
        assert "Traceback" not in shown.stderr


@pytest.mark.parametrize("outside", [4, 6])
def test_both_families_pass_and_the_handshake_is_seen(tmp_path: Path, outside: int) -> None:
    with pair(tmp_path, outside) as (edge, worker):
        edge.ensure(worker)
        worker.ensure(edge)
        seen: list[str] = []
        with server(worker, seen):
            for address in (worker.v4, worker.v6):
                with edge.dial(address) as stream:
                    stream.sendall(b"through")
                    assert stream.recv(100) == b"through"
        assert seen == [edge.v4, edge.v6]
        status = edge.observe(worker)
        assert status.handshake_age is not None
        assert status.handshake_age < 60
        assert not status.stale
        assert (status.rx > 0, status.tx > 0) == (True, True)
        assert status.endpoint == str(worker.endpoint)


def test_a_session_survives_changes_of_hundreds_of_peers(nodes: tuple[Node, Node]) -> None:
    edge, worker = nodes

    def others(count: int, keepalive: int = 0) -> list[dict[str, Any]]:
        return [
            {
                "name": f"other-{n}",
                "public_key": base64.b64encode(bytes([7, n]) + bytes(30)).decode(),
                "endpoint": f"192.0.2.{2 + n % 2}:{1000 + n}",
                "allowed": [f"203.0.113.{n}/32", f"2001:db8:7:{n:x}::/64"],
                "keepalive": keepalive,
            }
            for n in range(count)
        ]

    with server(worker, []), talking(edge, worker.v4) as rounds:
        before = edge.observe(worker)
        began = len(rounds)
        edge.extra = others(200)
        assert {type(change) for change in edge.ensure(worker)} == {SetPeer, AddRoute}
        edge.extra = others(200, keepalive=25)
        assert len(edge.ensure(worker)) == 200
        edge.extra = others(100, keepalive=25)
        assert {type(change) for change in edge.ensure(worker)} == {RemovePeer, RemoveRoute}
        edge.extra = []
        edge.ensure(worker)
        after = edge.observe(worker)
        assert len(rounds) > began + 10
        slowest = max(rounds[began:])
    print(f"the slowest of {len(rounds) - began} rounds took {slowest * 1000:.0f} ms")
    assert before.handshake_age is not None
    assert after.handshake_age is not None
    assert after.handshake_age > before.handshake_age, "a new handshake: the session was lost"
    assert after.rx > before.rx
    assert slowest < 1


def test_a_restarted_wireguard_go_is_set_up_again(nodes: tuple[Node, Node]) -> None:
    edge, worker = nodes
    edge.stop_wireguard()
    with pytest.raises(MeshUnavailable, match=r"install wireguard-go and start it with"):
        edge.ensure(worker)
    with netns.inside(edge.namespace), pytest.raises(MeshUnavailable, match="is not there"):
        edge.mesh(worker).observe()
    edge.start_wireguard()
    with netns.inside(edge.namespace):
        mesh = edge.mesh(worker)
        assert not mesh.observe().whole
        assert mesh.ensure()
        assert mesh.observe().whole
    netns.configure(edge.namespace, [f"addr del {edge.v6}/128 dev {edge.device}"])
    with netns.inside(edge.namespace):
        assert not mesh.observe().whole
        assert mesh.ensure()
        assert mesh.observe().whole
    with server(worker, []), edge.dial(worker.v6) as stream:
        stream.sendall(b"again")
        assert stream.recv(100) == b"again"


def test_somebody_elses_device_is_not_taken(tmp_path: Path) -> None:
    with pair(tmp_path) as (edge, worker):
        edge.stop_wireguard()
        netns.configure(edge.namespace, [f"link add {edge.device} type veth peer name tvx"])
        with pytest.raises(MeshUnavailable, match=r"is no WireGuard device \(veth\)"):
            edge.ensure(worker)
        assert not socket_path(edge.device).exists()


def test_somebody_elses_route_is_not_taken(tmp_path: Path) -> None:
    with pair(tmp_path) as (edge, worker):
        netns.configure(edge.namespace, [f"route add {worker.v4}/32 via {worker.underlay}"])
        said = f"cannot add a route to {worker.v4}/32 through {edge.device}: File exists; remove"
        with pytest.raises(MeshError, match=said):
            edge.ensure(worker)
        netns.configure(edge.namespace, [f"route del {worker.v4}/32 via {worker.underlay}"])
        assert edge.ensure(worker)
        assert edge.ensure(worker) == ()


def test_a_route_gets_an_mtu_of_its_own_and_tcp_follows(nodes: tuple[Node, Node]) -> None:
    edge, worker = nodes
    seen: list[str] = []
    with netns.inside(edge.namespace):
        mesh = edge.mesh(worker)
        mesh.size({worker.side: 1300})
        assert [type(change) for change in mesh.ensure()] == [ResizeRoute, ResizeRoute]
        assert mesh.ensure() == ()
        assert edge.mesh(worker).ensure() == (), "one that was not told leaves it as it is"
    assert addresses_and_routes(edge).count("mtu 1300") == 2
    with server(worker, seen):
        for address, headers in ((worker.v4, 40), (worker.v6, 60)):
            with edge.dial(address) as stream:
                mss = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
            assert 1300 - headers - 12 <= mss <= 1300 - headers
    with netns.inside(edge.namespace):
        mesh.size({worker.side: None})
        assert len(mesh.ensure()) == 2
    assert "mtu 1300" not in addresses_and_routes(edge)


def test_others_routes_through_the_device_stay(nodes: tuple[Node, Node]) -> None:
    """An operator's with a metric and a gateway, a daemon's with its own mark."""
    edge, worker = nodes
    routes = [
        f"203.0.113.0/28 via {worker.v4} dev {edge.device} proto bird metric 32",
        f"203.0.113.16/28 dev {edge.device} proto static",
        f"2001:db8:5::/64 dev {edge.device} proto bird metric 32",
    ]
    netns.configure(edge.namespace, [f"route add {route}" for route in routes])
    other = base64.b64encode(b"\7" * 32).decode()
    edge.extra = [{"name": "c", "public_key": other, "allowed": ["192.0.2.64/29"]}]
    assert edge.ensure(worker)
    edge.extra = []
    assert any(isinstance(change, RemoveRoute) for change in edge.ensure(worker))
    shown = addresses_and_routes(edge)
    assert "192.0.2.64/29" not in shown
    for route in routes:
        assert route.split()[0] in shown
    assert edge.ensure(worker) == ()
