"""The plan: who hangs where follows from the table; addresses are unique and documented ones."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.lab import delays
from edgenode.lab.delays import Delays
from edgenode.lab.errors import LabError
from edgenode.lab.topology import GROUPS, Attached, Layout, plan

BUILT_IN = delays.built_in()
PAIRS = sorted(BUILT_IN.table)
TABLES = st.lists(st.floats(0.1, 500), min_size=len(PAIRS), max_size=len(PAIRS)).map(
    lambda values: Delays("t", dict(zip(PAIRS, values, strict=True)))
)
DOCUMENTATION = [
    ip_network(text)
    for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]


def swapped(one: str, other: str) -> Delays:
    """The built-in table with two cities exchanged."""
    text = delays.built_in_text()
    for a, b in ((one, "@"), (other, one), ("@", other)):
        text = text.replace(f"-{a}", f"-{b}").replace(f'"{a}-', f'"{b}-')
    return delays.parse(text, "swapped")


def test_everyone_is_where_the_table_says() -> None:
    topology = plan(BUILT_IN)
    assert {u.name: u.transit for u in topology.users} == {"par": "lon", "bos": "nyc", "tyo": "sin"}
    assert topology.edges_by_distance("par") == ("lon1", "nyc1", "sin1")
    assert topology.regions_by_distance("lon1") == ("fra", "iad", "hkg")
    assert topology.rtt("bos", "sin1") == 6 + 70 + 160


def test_swapping_two_cities_swaps_who_is_nearest() -> None:
    topology = plan(swapped("par", "bos"))
    assert topology.edges_by_distance("par")[0] == "nyc1"
    assert topology.edges_by_distance("bos")[0] == "lon1"
    topology = plan(swapped("fra", "iad"))
    assert topology.regions_by_distance("lon1")[0] == "iad"
    assert topology.regions_by_distance("nyc1")[0] == "fra"


def test_not_all_transits_are_neighbors() -> None:
    topology = plan(BUILT_IN)
    assert topology.link("lon", "nyc").rtt == 70
    with pytest.raises(LabError, match="no link between 'nyc' and 'sin'"):
        topology.link("nyc", "sin")
    assert len({transit.asn for transit in topology.transits}) == 3


@given(TABLES)
def test_laws_of_any_table(table: Delays) -> None:
    topology = plan(table)
    for node in (*topology.regions, *topology.users):
        assert isinstance(node, Attached)
        best = min(table.rtt(node.city, transit.city) for transit in topology.transits)
        assert topology.uplink(node.name).rtt == table.rtt(node.city, node.transit) == best
    for one, other in combinations([node.name for node in topology.nodes], 2):
        assert topology.rtt(one, other) == pytest.approx(topology.rtt(other, one))
    for user in topology.users:
        nearest = topology.edges_by_distance(user.name)[0]
        assert nearest == f"{user.transit}1"


def test_addresses_are_unique_and_for_documentation() -> None:
    topology = plan(BUILT_IN)
    taken = [
        str(address)
        for link in topology.links
        for end in (link.a, link.b)
        for address in (end.ipv4.ip, end.ipv6.ip)
    ]
    taken += [str(a) for t in topology.transits for a in (t.ipv4, t.ipv6)]
    taken += [str(a) for e in topology.edges for a in (e.router_id, *e.mesh)]
    taken += [str(a) for r in topology.regions for w in r.workers for a in w.addresses]
    taken += [str(a) for group in GROUPS for a in group.addresses]
    assert len(taken) == len(set(taken))
    for text in taken:
        network = ip_network(text)
        assert any(
            network.version == known.version and network.subnet_of(known)  # type: ignore[arg-type]
            for known in DOCUMENTATION
        )
    for region in topology.regions:
        for worker in region.workers:
            v4, v6 = worker.addresses
            assert v4 in region.prefixes[0]
            assert v6 in region.prefixes[1]


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        (Layout(transits=()), "no transit"),
        (Layout(edges=("par",)), "edge in par"),
        (Layout(neighbors=(("lon", "par"),)), "makes par a neighbor"),
        (Layout(neighbors=(("lon", "nyc"),)), "no path leads to"),
        (Layout(users=("fra",)), "one name"),
        (Layout(workers=7), "1 to 6 workers"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(layout: Layout, says: str) -> None:
    with pytest.raises(LabError, match=says):
        plan(BUILT_IN, layout)


def test_a_small_plan() -> None:
    layout = replace(Layout(), transits=("lon",), neighbors=(), edges=("lon",), users=("par",))
    topology = plan(BUILT_IN, replace(layout, regions=("fra",), workers=1))
    assert [node.name for node in topology.nodes] == ["lon", "lon1", "fra", "par"]
    with pytest.raises(LabError, match="no node 'nyc'"):
        topology.node("nyc")
