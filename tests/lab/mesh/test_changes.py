"""Keys, secrets and addresses that change under a connection that is held through it."""

import base64
import json
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from edgenode.config import Mesh as MeshConfig
from edgenode.config.values import Address, NamedEndpoint
from edgenode.lab import netns
from edgenode.lab.waiting import wait_until
from edgenode.mesh import Mesh
from edgenode.mesh.state import SetPeer
from tests.lab.mesh.pair import Node, kept, pair, server, talking


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    with pair(tmp_path) as (edge, worker):
        edge.ensure(worker)
        worker.ensure(edge)
        yield edge, worker


def next_key(node: Node, other: Node) -> str:
    made = node.command(other, "mesh", "next-key")
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def test_a_node_changes_its_key_and_no_connection_is_lost(nodes: tuple[Node, Node]) -> None:
    """The far node's control follows; one that does not know the key has it taken back."""
    edge, worker = nodes
    former, notes = worker.public_key, list[str]()
    coming = next_key(worker, edge)
    assert next_key(worker, edge) == coming, "it is made once"
    assert worker.public_key == former
    with server(worker, []), talking(edge, worker.v4) as rounds:
        refused = worker.command(edge, "mesh", "switch-key", "--wait", "1")
        assert refused.returncode == 1
        assert (
            f"no handshake with the other key from a within 1 s: the key {former}" in refused.stderr
        )
        count = len(rounds)
        wait_until(lambda: len(rounds) > count + 10, 10, "the session under the former key again")
        edge.fields = {"next_public_key": coming}
        with kept(edge, worker, notes) as keeper:
            wait_until(lambda: any(" made: " in note for note in notes), 10, "the next key")
            began = len(rounds)
            switched = worker.command(edge, "mesh", "switch-key", "--json")
            assert switched.returncode == 0, switched.stderr
            assert json.loads(switched.stdout)["public_key"] == coming
            assert json.loads(switched.stdout)["took"] == ["a"]
            wait_until(lambda: keeper.peers[0].next_key, 10, "its addresses under the next key")
            count = len(rounds)
            wait_until(lambda: len(rounds) > count + 10, 10, "the connection goes on")
            print(f"the slowest round of the change took {max(rounds[began:]) * 1000:.0f} ms")
            assert max(rounds[began:]) < 5
        # The end of it: the next key is the key. The session stays.
        worker_handshake = edge.observe(worker).handshake_age
        edge.fields = {"public_key": coming}
        assert len(edge.ensure(worker)) == 1, "the former key's peer goes"
        count = len(rounds)
        wait_until(lambda: len(rounds) > count + 10, 10, "the connection goes on")
        after = edge.observe(worker)
    assert worker_handshake is not None
    assert after.handshake_age is not None
    assert after.handshake_age >= worker_handshake, "no new handshake was needed"


def test_a_preshared_key_comes_and_changes_under_a_session(nodes: tuple[Node, Node]) -> None:
    """A session goes on under the secret that it began with; the next handshake needs the new."""
    edge, worker = nodes

    def file(node: Node) -> Path:
        return node.state / f"{node.side}.psk"

    def share(secret: bytes, *holders: Node) -> None:
        for node in holders:
            file(node).write_text(base64.b64encode(secret * 32).decode() + "\n")
            file(node).chmod(0o600)

    with server(worker, []), talking(edge, worker.v4) as rounds:
        share(b"\1", edge, worker)
        for node, other in ((edge, worker), (worker, edge)):
            node.fields = {"preshared_key_file": str(file(node))}
            assert len(node.ensure(other)) == 1
            assert node.ensure(other) == ()
        before = edge.observe(worker).handshake_age
        with netns.inside(edge.namespace):
            mesh = edge.mesh(worker)
            assert mesh.ensure() == ()
            assert mesh.observe().whole
            share(b"\2", edge)
            assert not mesh.observe().whole, "a changed file is seen"
            assert len(mesh.ensure()) == 1
            file(edge).write_text("damaged")
            assert mesh.ensure() == (), "a damaged one leaves the peer as it is"
            assert "is damaged" in mesh.observe().problems["b"]
        count = len(rounds)
        wait_until(lambda: len(rounds) > count + 10, 10, "the session goes on")
        after = edge.observe(worker).handshake_age
    assert before is not None
    assert after is not None
    assert after > before, "a new handshake: the session was lost"
    # With other secrets there is no session; with the same there is.
    worker.stop_wireguard()
    worker.start_wireguard()
    worker.ensure(edge)
    with server(worker, []):
        with pytest.raises(TimeoutError):
            edge.dial(worker.v4, 1.0)
        share(b"\2", edge, worker)
        worker.ensure(edge)
        with edge.dial(worker.v4, 10.0) as stream:
            stream.sendall(b"again")
            assert stream.recv(100) == b"again"


def test_a_peer_that_moved_is_found_by_its_name(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has another address and says nothing: WireGuard alone would never find it."""
    edge, worker = nodes
    monkeypatch.setattr("edgenode.mesh.names.EVERY", 0.2)
    stands_for: list[Address] = [ip_address(worker.underlay)]
    edge.look_up = lambda name: list(stands_for)
    edge.fields = {"endpoint": str(NamedEndpoint("fra1.example.net", 51820))}
    worker.fields = {"endpoint": None, "keepalive": 0}
    worker.ensure(edge)
    notes: list[str] = []
    with server(worker, []), kept(edge, worker, notes) as keeper:
        with talking(edge, worker.v4) as rounds:
            wait_until(lambda: any("192.0.2.2:51820" in note for note in notes), 10, "the name")
            moved = "2001:db8:b::77"
            netns.configure(
                worker.namespace,
                [
                    f"addr del {worker.underlay}/24 dev {worker.veth}",
                    f"addr add {moved}/64 dev {worker.veth} nodad",
                ],
            )
            began = time.monotonic()
            stands_for[:] = [ip_address(moved)]
            wait_until(lambda: keeper.peers[0].endpoint == f"[{moved}]:51820", 10, "its new place")
            count = len(rounds)
            wait_until(lambda: len(rounds) > count + 10, 20, "the connection goes on")
        print(f"it was found after {time.monotonic() - began:.1f} s")
    assert any(f"[{moved}]:51820, and not for 192.0.2.2:51820 any more" in note for note in notes)


def test_an_endpoint_that_the_operator_changes_is_set_at_once(nodes: tuple[Node, Node]) -> None:
    """Of a live peer too, over an `apply`. One that still speaks from where it was is followed."""
    edge, worker = nodes
    elsewhere = f"[{worker.underlay6}]:51820"
    with server(worker, []), talking(edge, worker.v4) as rounds, netns.inside(edge.namespace):
        before = edge.mesh(worker)
        assert before.ensure() == ()
        assert before.observe().peers[0].endpoint == "192.0.2.2:51820"
        edge.fields = {"endpoint": elsewhere}
        assert edge.mesh(worker).ensure() == (), "a restarted control forces nothing"
        config = MeshConfig.model_validate(edge.config(worker))
        after = Mesh(config, edge.key_file, before)
        (change,) = after.ensure()
        assert isinstance(change, SetPeer)
        assert str(change.peer.endpoint) == elsewhere
        assert after.ensure() == ()
        count = len(rounds)
        wait_until(lambda: len(rounds) > count + 10, 10, "the connection goes on")


def test_a_copied_machine_is_found_and_named(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the worker's key and mesh address: both speak, and each takes the other's packets."""
    edge, worker = nodes
    monkeypatch.setattr("edgenode.control.mesh.OBSERVE", 0.2)
    twin = Node("c", worker.v4, worker.v6, "198.18.0.2", worker.state)
    twin.key_file.write_text(worker.key_file.read_text())
    twin.key_file.chmod(0o600)
    notes: list[str] = []
    try:
        netns.create(twin.namespace)
        link = f"link add tve type veth peer name {twin.veth} netns {twin.namespace}"
        here = ["addr add 198.18.0.1/24 dev tve", "link set tve up"]
        netns.configure(edge.namespace, [link, *here])
        there = [f"addr add 198.18.0.2/24 dev {twin.veth}", f"link set {twin.veth} up"]
        route = f"route add {edge.underlay}/32 dev {twin.veth}"
        netns.configure(twin.namespace, [*there, route])
        twin.start_wireguard()
        with kept(edge, worker, notes):
            twin.ensure(edge)
            wait_until(lambda: any("two nodes have its key" in note for note in notes), 30, "twins")
        (said,) = (note for note in notes if "two nodes have its key" in note)
    finally:
        twin.stop_wireguard()
        netns.remove(twin.namespace)
    assert said.startswith("mesh b speaks from ")
    assert worker.underlay in said
    assert twin.underlay in said
