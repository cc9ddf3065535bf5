"""Two edges and one region: whose fault it is that no worker answers, and who withdraws for it.

Seen from the transits, which have the routes, and from what the command says.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edgenode.lab import WEB, Lab, Layout, Settings, netns, plan, wait_until
from edgenode.lab.delays import built_in
from tests.lab.lab.naming import unique_name

ONE, OTHER, REGION, USER = "lon1", "nyc1", "fra", "par"
LAYOUT = Layout(
    transits=("lon", "nyc"),
    neighbors=(("lon", "nyc"),),
    edges=("lon", "nyc"),
    regions=(REGION,),
    workers=1,
    users=(USER,),
)
WITHIN = 15.0
"""Seconds in which a node that is cut off has to have withdrawn: probes, and stale siblings."""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    settings = Settings(grace=4.0, heartbeat_timeout=30.0)
    with Lab(unique_name(), plan(built_in(), LAYOUT), settings) as lab:
        lab.up()
        # Two ends that begin a handshake at the same moment spoil each other's: again after 5 s.
        wait_until(lambda: all(heard(lab, edge) for edge in (ONE, OTHER)), 45, "they are heard")
        # So do those to the region. Against a path that has never answered, silence says nothing.
        wait_until(lambda: all(known(lab, edge) for edge in (ONE, OTHER)), 45, "all paths answer")
        yield lab


@pytest.fixture(autouse=True)
def whole(lab: Lab) -> Iterator[None]:
    """Each test finds both edges announced, and has to leave them so."""
    yield
    for edge in (ONE, OTHER):
        lab.wait_announced(edge, WEB)


def status(lab: Lab, edge: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(lab.edgenode(edge, "status", "--json").stdout)
    return answer


def heard(lab: Lab, edge: str) -> bool:
    return all(sibling["fresh"] for sibling in status(lab, edge)["siblings"]["edges"])


def known(lab: Lab, edge: str) -> bool:
    """Whether the node has had an answer through each of its tunnels."""
    mesh = json.loads(lab.edgenode(edge, "mesh", "--json").stdout)
    return all(peer["state"] == "good" for peer in mesh["peers"])


def cause(lab: Lab, edge: str, service: str = "web") -> str:
    (found,) = [each for each in status(lab, edge)["services"] if each["name"] == service]
    return str(found["cause"])


def why(lab: Lab, edge: str) -> str:
    return lab.edgenode(edge, "why", "web").stdout


def announced(lab: Lab, edge: str) -> bool:
    return all(lab.edge_route(edge, prefix) for prefix in WEB.prefixes)


def stays_announced(lab: Lab, edges: tuple[str, ...], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert all(announced(lab, edge) for edge in edges)
        time.sleep(0.05)


def from_edge(lab: Lab, edge: str, script: str, *arguments: str) -> None:
    """Run a script in an edge's namespace."""
    command = ["ip", "netns", "exec", lab.namespace(edge), sys.executable, "-c", script]
    subprocess.run([*command, *arguments], check=True, timeout=30)


SAY = """
import socket, sys, time
device, own, there, port, texts, times = *sys.argv[1:5], sys.argv[5].split("|"), int(sys.argv[6])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
sock.bind((own, int(port)))
for _ in range(times):
    for text in texts:
        sock.sendto(text.encode("latin-1"), (there, int(port)))
    time.sleep(0.0002)
"""


def say(lab: Lab, *texts: str, times: int = 1) -> None:
    """OTHER tells ONE something, from its own mesh address and port."""
    edges = {edge.name: edge for edge in lab.topology.edges}
    device = status(lab, OTHER)["mesh"]["device"]
    own, there = str(edges[OTHER].mesh[0]), str(edges[ONE].mesh[0])
    from_edge(lab, OTHER, SAY, device, own, there, "51821", "|".join(texts), str(times))


@contextlib.contextmanager
def cut(lab: Lab, *ends: str) -> Iterator[None]:
    """What ONE's tunnels to these carry is dropped on the way."""
    for end in ends:
        lab.cut_region(ONE, end)
    try:
        yield
    finally:
        for end in ends:
            lab.heal_region(ONE, end)


@contextlib.contextmanager
def unanswered(lab: Lab) -> Iterator[None]:
    """The region's workers do not hear ONE, whatever the tunnel carries."""
    table, namespace = "edgenode_lab_unanswered", lab.namespace(REGION)
    rule = f"ip saddr {lab.topology.edges[0].mesh[0]} meta l4proto tcp drop"
    chain = f"chain input {{ type filter hook input priority 0; {rule}; }};"
    netns.run(["nft", f"table inet {table} {{ {chain} }}"], namespace=namespace)
    try:
        yield
    finally:
        netns.run(["nft", "delete", "table", "inet", table], namespace=namespace)


def test_a_node_that_alone_does_not_reach_its_region_withdraws(lab: Lab) -> None:
    with cut(lab, REGION):
        lab.wait_withdrawn(ONE, WEB, timeout=WITHIN)
        assert announced(lab, OTHER)
        text = why(lab, ONE)
        assert f"{OTHER} reaches its workers, this node does not" in text
        assert f"sibling    {OTHER} says of web: a region answers" in text
        # It may learn that its workers are lost before it learns that nothing comes at all.
        wait_until(lambda: cause(lab, ONE) == "my-tunnel", WITHIN, "the tunnel is found guilty")
        assert f"nothing arrives from {REGION}" in why(lab, ONE)
    wait_until(lambda: cause(lab, ONE) == "healthy", 10, "it is well again")


def test_a_node_whose_workers_alone_do_not_hear_it_withdraws(lab: Lab) -> None:
    with unanswered(lab):
        lab.wait_withdrawn(ONE, WEB, timeout=WITHIN)
        assert announced(lab, OTHER)
        assert cause(lab, ONE) == "my-node"
        expected = f"{OTHER} reaches its workers, this node does not, though its tunnels are fresh"
        assert expected in why(lab, ONE)
    wait_until(lambda: cause(lab, ONE) == "healthy", 10, "it is well again")


def test_a_node_whose_every_tunnel_is_cut_withdraws(lab: Lab) -> None:
    with cut(lab, REGION, OTHER):
        lab.wait_withdrawn(ONE, WEB, timeout=WITHIN)
        assert announced(lab, OTHER)
        silent = "nothing comes through the mesh"
        wait_until(lambda: silent in why(lab, ONE), WITHIN, "it knows that it hears nothing")
        assert cause(lab, ONE) == "my-tunnel"
        assert f"sibling    {OTHER} is silent" in why(lab, ONE)
    wait_until(lambda: heard(lab, ONE), 45, "its sibling is heard again")


def test_a_region_that_is_dead_for_everybody_is_withdrawn_by_nobody(lab: Lab) -> None:
    lab.kill(REGION, f"{REGION}-1")
    stays_announced(lab, (ONE, OTHER), 7)
    for edge, sibling in ((ONE, OTHER), (OTHER, ONE)):
        assert cause(lab, edge) == "everywhere"
        assert f"{sibling} sees the same: dead for everybody" in why(lab, edge)
        assert "dead for everybody" in lab.edgenode(edge, "status").stdout
    lab.start(REGION, f"{REGION}-1")
    wait_until(lambda: cause(lab, ONE) == cause(lab, OTHER) == "healthy", 10, "all is well again")


def test_nonsense_disturbs_nothing_and_is_told_once(lab: Lab) -> None:
    say(lab, "nonsense", "[" * 1000, "\xff\xfe", '{"v":7}', "x" * 1400, times=1500)
    stays_announced(lab, (ONE, OTHER), 1)
    assert heard(lab, ONE)
    (sibling,) = status(lab, ONE)["siblings"]["edges"]
    assert sibling["refused"] > 0
    told = lab.edgenode(ONE, "history", "--kind", "sibling").stdout
    assert told.count("what it tells is refused") == 1


def test_a_mesh_address_at_two_places_is_named(lab: Lab) -> None:
    own = str(lab.topology.edges[0].mesh[0])
    claims = {"v": 1, "node": "copy", "boot": "c" * 16, "mesh": [own], "number": 10**6, "at": 1.0}
    say(lab, json.dumps(claims), times=20)
    expected = f"the mesh address {own} is this node's, and edge {OTHER} (copy) says it is its own"
    wait_until(lambda: expected in lab.edgenode(ONE, "status").stdout, 5, "it is named")
    assert announced(lab, ONE)
    lab.kill(OTHER, "control")
    lab.start(OTHER, "control")
    wait_until(lambda: not status(lab, ONE)["siblings"]["conflicts"], 15, "it is over")


def test_an_app_that_is_dead_takes_no_shared_prefix_with_it(lab: Lab) -> None:
    config = lab.directory(ONE) / "edgenode.toml"
    before = config.read_text()
    app = f'[[services]]\nname = "app"\ngroup = "web"\nlisten = ["{WEB.addresses[0]}:81"]\n'
    config.write_text(before.replace("[[services]]", f"{app}port = 8081\n\n[[services]]", 1))
    assert lab.edgenode(ONE, "apply").returncode == 0
    wait_until(lambda: cause(lab, ONE, "app") == "region", 10, "the app is seen to be dead")
    stays_announced(lab, (ONE,), 2)
    assert "service app (region): no worker answers" in why(lab, ONE)
    config.write_text(before)
    assert lab.edgenode(ONE, "apply").returncode == 0
