"""What the nodes are configured with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgenode.config import loads
from edgenode.lab import delays
from edgenode.lab.nodes import edge, region, transit
from edgenode.lab.topology import Edge, Layout, plan

TOPOLOGY = plan(delays.built_in())
KEYS = {
    node.name: f"{number:043d}="[-44:].replace("0", "A")
    for number, node in enumerate((*TOPOLOGY.edges, *TOPOLOGY.regions))
}


@pytest.mark.parametrize("node", TOPOLOGY.edges, ids=lambda node: str(node.name))
def test_an_edge_has_a_configuration_that_edgenode_takes(node: Edge) -> None:
    keys = {name: "A" * 42 + chr(ord("A") + 4 * n) + "=" for n, name in enumerate(KEYS, 1)}
    settings = edge.Settings(grace=1.5, drain_time=7)
    directory = Path("/run/edgenode-lab/x/y")
    text = edge.configuration(TOPOLOGY, node, directory, "x-lon1", keys, settings)
    config = loads(text, Path("lab.toml"), check_secrets=False)
    assert config.node.name == node.name
    assert config.lifeline.grace == 1.5
    assert config.bgp.drain_time == 7
    assert [neighbor.address.version for neighbor in config.bgp.neighbors] == [4, 6]
    assert config.mesh is not None
    others = {e.name for e in TOPOLOGY.edges} - {node.name}
    assert {p.name for p in config.mesh.peers} == others | {r.name for r in TOPOLOGY.regions}
    assert [len(r.workers) for r in config.regions] == [2, 2, 2]
    exec_check = next(check for check in config.checks if check.type == "exec")
    assert exec_check.command == ("/bin/sleep", "0.2")


def test_a_transit_has_a_session_per_peer_and_family() -> None:
    text = transit.configuration(TOPOLOGY, TOPOLOGY.transits[0])
    for peer in ("nyc", "sin", "lon1"):
        for version in (4, 6):
            assert f"protocol bgp {transit.protocol(peer, version)} {{" in text
    assert text.count("protocol bgp") == 6
    assert "import filter { from_neighbor(70000); }" in text
    assert "import filter { from_edge(0, 1); }" in text


def test_a_region_knows_every_edge() -> None:
    text = region.wireguard(TOPOLOGY, "SECRET", KEYS)
    assert text.count("[Peer]") == 3
    for node in TOPOLOGY.edges:
        assert f"AllowedIPs = {node.mesh[0]}/32, {node.mesh[1]}/128" in text
    site = TOPOLOGY.regions[0]
    page = region.nginx(TOPOLOGY, site, site.workers[1], Path("/x"))
    assert "listen 198.51.100.202:8080 proxy_protocol" in page
    assert '"198.51.100.193" lon1;' in page


def test_a_lab_without_neighbors_has_only_its_edges_sessions() -> None:
    layout = replace(Layout(), transits=("lon",), neighbors=(), edges=("lon",))
    topology = plan(delays.built_in(), layout)
    assert transit.configuration(topology, topology.transits[0]).count("protocol bgp") == 2
