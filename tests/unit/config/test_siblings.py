"""Edges that tell each other what they reach: what is refused, and in which words."""

from __future__ import annotations

import pytest

from edgenode.config import ConfigError, loads
from edgenode.config.siblings import addresses
from tests.unit.config.test_config import GOOD

EDGE = """
[[mesh.peers]]
name = "nyc1"
public_key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
allowed = ["198.51.100.194/32", "2001:db8:ffff:1::2/128", "198.51.100.208/29"]
edge = true
"""


def test_without_edges_a_node_has_no_siblings() -> None:
    assert loads(GOOD).edges == ()


def test_an_edge_is_spoken_to_at_its_single_addresses_of_our_families() -> None:
    config = loads(GOOD + EDGE)
    assert config.mesh
    (edge,) = config.edges
    assert [str(each) for each in addresses(config.mesh, edge)] == ["198.51.100.194"]
    assert (config.siblings.port, config.siblings.stale_after) == (51821, 4.0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (EDGE + '[siblings]\nstale_after = "1500ms"', r"siblings.stale_after: .* at least twice"),
        (EDGE + "[siblings]\nport = 51820", r"siblings.port: .*mesh.listen_port too"),
        (EDGE + "[siblings]\nquorum = 0", "siblings.quorum"),
        (EDGE + "[siblings]\nqorum = 0.5", 'did you mean "quorum"'),
        ("[siblings]\nport = 5000", "write edge = true at the"),
        (EDGE.replace(".194/32", ".196/30"), r"mesh.peers\[1\].allowed: no mesh address of edge"),
        (EDGE.replace("true", '"yes"'), r"mesh.peers\[1\].edge"),
    ],
)
def test_a_wrong_section_is_named(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        loads(GOOD + text)
