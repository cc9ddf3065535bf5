"""From a table of delays to a plan: who is where, attached to whom, with which addresses.

Pure: nothing here touches the machine. All addresses are documentation prefixes
(RFC 5737, RFC 3849); 198.51.100.0/24 is cut as follows:

    .0   – .127   links, a /31 each (RFC 3021)
    .128 – .191   routers' identifiers and loopbacks
    .192 – .199   the edges' mesh addresses, a /32 each
    .200 – .255   worker regions, a /29 each
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

from edgenode.lab.delays import Delays
from edgenode.lab.errors import LabError
from edgenode.lab.names import check_node, interface

EDGE_ASN = 64700
FIRST_TRANSIT_ASN = 64601
WORKER_PORT = 8080

_V4 = int(IPv4Address("198.51.100.0"))
_V6 = int(IPv6Address("2001:db8::"))


@dataclass(frozen=True)
class Group:
    """An anycast prefix in both families, and the service address within each."""

    name: str
    prefixes: tuple[IPv4Network, IPv6Network]
    addresses: tuple[IPv4Address, IPv6Address]


WEB = Group(
    "web",
    (IPv4Network("203.0.113.0/24"), IPv6Network("2001:db8:113::/48")),
    (IPv4Address("203.0.113.1"), IPv6Address("2001:db8:113::1")),
)
STATIC = Group(
    "static",
    (IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8:192::/48")),
    (IPv4Address("192.0.2.1"), IPv6Address("2001:db8:192::1")),
)
GROUPS = (WEB, STATIC)
MESH = (IPv4Network("198.51.100.192/26"), IPv6Network("2001:db8:ffff::/48"))
"""All mesh addresses, of edges and of workers: none is to be seen outside the tunnels."""


@dataclass(frozen=True)
class Layout:
    """What is wanted, in cities. `neighbors` are the pairs of transits with a session."""

    transits: tuple[str, ...] = ("lon", "nyc", "sin")
    neighbors: tuple[tuple[str, str], ...] = (("lon", "nyc"), ("lon", "sin"))
    edges: tuple[str, ...] = ("lon", "nyc", "sin")
    regions: tuple[str, ...] = ("fra", "iad", "hkg")
    workers: int = 2
    users: tuple[str, ...] = ("par", "bos", "tyo")


@dataclass(frozen=True)
class End:
    """One end of a link."""

    node: str
    interface: str
    ipv4: IPv4Interface
    ipv6: IPv6Interface


@dataclass(frozen=True)
class Link:
    """A link between two nodes; `rtt` in milliseconds, 0 within a city."""

    name: str
    a: End
    b: End
    rtt: float

    def end(self, node: str) -> End:
        return self.a if self.a.node == node else self.b

    def other(self, node: str) -> End:
        return self.b if self.a.node == node else self.a


@dataclass(frozen=True)
class Node:
    name: str
    city: str


@dataclass(frozen=True)
class Transit(Node):
    """A router with an AS of its own; its loopback addresses are reachable."""

    asn: int
    ipv4: IPv4Address
    ipv6: IPv6Address


@dataclass(frozen=True)
class Attached(Node):
    """A node with one link, to a transit."""

    transit: str


@dataclass(frozen=True)
class Edge(Attached):
    asn: int
    number: int
    router_id: IPv4Address
    mesh: tuple[IPv4Address, IPv6Address]


@dataclass(frozen=True)
class Worker:
    name: str
    addresses: tuple[IPv4Address, IPv6Address]


@dataclass(frozen=True)
class Region(Attached):
    prefixes: tuple[IPv4Network, IPv6Network]
    workers: tuple[Worker, ...]


@dataclass(frozen=True)
class User(Attached):
    pass


@dataclass(frozen=True)
class Topology:
    """The plan of a lab."""

    layout: Layout
    delays: Delays
    transits: tuple[Transit, ...]
    edges: tuple[Edge, ...]
    regions: tuple[Region, ...]
    users: tuple[User, ...]
    links: tuple[Link, ...]
    groups: tuple[Group, ...] = field(default=GROUPS)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (*self.transits, *self.edges, *self.regions, *self.users)

    def node(self, name: str) -> Node:
        """Raises LabError for a node that is not in the plan."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise LabError(f"no node {name!r} in this lab: there are {known}")

    def links_of(self, node: str) -> tuple[Link, ...]:
        return tuple(link for link in self.links if node in (link.a.node, link.b.node))

    def link(self, one: str, other: str) -> Link:
        """Raises LabError where no link joins the two."""
        for link in self.links:
            if {link.a.node, link.b.node} == {one, other}:
                return link
        raise LabError(f"no link between {one!r} and {other!r} in this lab")

    def uplink(self, node: str) -> Link:
        """The only link of an edge, a region or a user."""
        return self.links_of(node)[0]

    def distances(self, start: str) -> dict[str, float]:
        """Round-trip from a node to every other, in milliseconds, over the links of the plan."""
        found: dict[str, float] = {}
        queue = [(0.0, start)]
        while queue:
            distance, name = heapq.heappop(queue)
            if name in found:
                continue
            found[name] = distance
            for link in self.links_of(name):
                heapq.heappush(queue, (distance + link.rtt, link.other(name).node))
        return found

    def rtt(self, one: str, other: str) -> float:
        return self.distances(one)[other]

    def edges_by_distance(self, node: str) -> tuple[str, ...]:
        """Edges as seen from a node, nearest first."""
        distances = self.distances(node)
        return tuple(sorted((edge.name for edge in self.edges), key=lambda n: (distances[n], n)))

    def regions_by_distance(self, node: str) -> tuple[str, ...]:
        """Regions as seen from a node, nearest first."""
        distances = self.distances(node)
        names = (region.name for region in self.regions)
        return tuple(sorted(names, key=lambda n: (distances[n], n)))


def _link(number: int, a: str, b: str, rtt: float) -> Link:
    if number >= 64:
        raise LabError("the plan has more than 64 links: leave out some regions or users")
    # A /31 and a /127 (RFC 6164); ::a and ::b are such a pair.
    v4 = [IPv4Interface((_V4 + 2 * number + side, 31)) for side in (0, 1)]
    subnet = _V6 + ((number + 1) << 64)
    v6 = [IPv6Interface((subnet + 0xA + side, 127)) for side in (0, 1)]
    ends = [
        End(node, interface(peer), v4[side], v6[side])
        for side, (node, peer) in enumerate(((a, b), (b, a)))
    ]
    return Link(f"{a}-{b}", ends[0], ends[1], rtt)


def _region(number: int, city: str, transit: str, workers: int) -> Region:
    v4 = IPv4Network((_V4 + 200 + 8 * number, 29))
    v6 = IPv6Network((_V6 + (0xFFFF << 80) + ((0xF1 + number) << 64), 64))
    members = tuple(Worker(f"{city}-{n}", (v4[n], v6[n])) for n in range(1, workers + 1))
    return Region(city, city, transit, (v4, v6), members)


def _edge(number: int, city: str) -> Edge:
    return Edge(
        name=f"{city}1",
        city=city,
        transit=city,
        asn=EDGE_ASN,
        number=number,
        router_id=IPv4Address(_V4 + 160 + number),
        mesh=(
            IPv4Address(_V4 + 192 + number),
            IPv6Address(_V6 + (0xFFFF << 80) + (1 << 64) + number),
        ),
    )


def _check(layout: Layout) -> None:
    if not layout.transits:
        raise LabError("the plan has no transit: an internet needs at least one")
    for city in layout.edges:
        if city not in layout.transits:
            raise LabError(f"the plan has an edge in {city}, where there is no transit")
    for pair in layout.neighbors:
        for city in pair:
            if city not in layout.transits:
                raise LabError(f"the plan makes {city} a neighbor, but it is no transit")
    if len(layout.edges) > 7 or len(layout.regions) > 7 or not 1 <= layout.workers <= 6:
        raise LabError("the plan has room for 7 edges, 7 regions, and 1 to 6 workers in each")


def plan(delays: Delays, layout: Layout | None = None) -> Topology:
    """The plan for a layout: regions and users hang on the transit that is nearest by the table.

    Raises LabError when the table misses a pair that is needed, two nodes would have one name,
    the plan is too large for its addresses, or some node cannot reach another.
    """
    layout = layout or Layout()
    _check(layout)
    transits = tuple(
        Transit(
            name=city,
            city=city,
            asn=FIRST_TRANSIT_ASN + number,
            ipv4=IPv4Address(_V4 + 128 + number),
            ipv6=IPv6Address(_V6 + (0xFF << 80) + number + 1),
        )
        for number, city in enumerate(layout.transits)
    )
    edges = tuple(_edge(number, city) for number, city in enumerate(layout.edges, start=1))
    regions = tuple(
        _region(number, city, delays.nearest(city, layout.transits), layout.workers)
        for number, city in enumerate(layout.regions)
    )
    users = tuple(User(c, c, delays.nearest(c, layout.transits)) for c in layout.users)
    joined = list(layout.neighbors)
    joined += [(node.transit, node.name) for node in (*edges, *regions, *users)]
    city = {node.name: node.city for node in (*transits, *edges, *regions, *users)}
    if len(city) != len(transits) + len(edges) + len(regions) + len(users):
        raise LabError("two nodes of the plan have one name: a city can be only one of them")
    for name in city:
        check_node(name)
    links = tuple(
        _link(number, a, b, delays.rtt(city[a], city[b])) for number, (a, b) in enumerate(joined)
    )
    topology = Topology(layout, delays, transits, edges, regions, users, links)
    unreached = city.keys() - topology.distances(transits[0].name).keys()
    if unreached:
        raise LabError(f"no path leads to {', '.join(sorted(unreached))}: add neighbors")
    return topology


def crowd(topology: Topology, transit: str, names: Iterable[str]) -> Topology:
    """The plan with further edges in a transit's city: many for a comparison side by side.

    They are not in the layout: a lab with such a plan cannot be taken over by `Lab.attach`.
    Raises LabError when a name is taken or cannot be used, or there is no room for more links.
    """
    edges, links = list(topology.edges), list(topology.links)
    taken = {node.name for node in topology.nodes}
    for name in names:
        if check_node(name) in taken:
            raise LabError(f"the plan has a node {name!r} already")
        taken.add(name)
        edges.append(replace(_edge(len(edges) + 1, transit), name=name))
        links.append(_link(len(links), transit, name, 0.0))
    return replace(topology, edges=tuple(edges), links=tuple(links))
