"""Rules on the neighbors, and on what the routes to them carry. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgenode.config.communities import BLACKHOLE, GRACEFUL_SHUTDOWN, Community
from edgenode.config.errors import KeyPath, Problem, duplicates
from edgenode.config.schema import Config, Neighbor

BIRDS_OWN = {"ipp", "ipr", "ips", "ipt"}
"""BIRD makes constants of /etc/iproute2/rt_*, with these beginnings: ``ipp_bgp`` is one."""


def check(config: Config) -> Iterator[Problem]:
    """What is wrong with [bgp], its neighbors, and the groups' communities."""
    addresses: list[tuple[KeyPath, object]] = []
    for n, neighbor in enumerate(config.bgp.neighbors):
        key: KeyPath = ("bgp", "neighbors", n)
        addresses.append(((*key, "address"), neighbor.address))
        yield from _neighbor(config, neighbor, key)
    yield from duplicates("neighbor address", addresses)
    yield from _includes(config)
    yield from _communities(config)
    served = {neighbor.address.version for neighbor in config.bgp.neighbors}
    for g, group in enumerate(config.groups):
        for p, prefix in enumerate(group.prefixes):
            if prefix.version not in served:
                yield Problem(
                    ("groups", g, "prefixes", p),
                    f"no neighbor has an IPv{prefix.version} address: {prefix} would reach nobody",
                    depends=("bgp", "neighbors"),
                )


def _neighbor(config: Config, neighbor: Neighbor, key: KeyPath) -> Iterator[Problem]:
    if neighbor.name in BIRDS_OWN:
        yield Problem((*key, "name"), f'BIRD has constants called "{neighbor.name}_...": rename')
    if neighbor.asn == config.bgp.asn:
        yield Problem((*key, "asn"), "is our own: only external neighbors (eBGP) are supported")
    if neighbor.bfd and neighbor.multihop and not neighbor.source:
        what = "BFD over several hops needs the address of our end: set source"
        yield Problem((*key, "bfd"), what)


def _includes(config: Config) -> Iterator[Problem]:
    places: list[tuple[KeyPath, object]] = []
    for i, path in enumerate(config.bgp.include):
        key: KeyPath = ("bgp", "include", i)
        places.append((key, path))
    yield from duplicates("file", places)


def _communities(config: Config) -> Iterator[Problem]:
    kept = any(neighbor.keep_blackhole for neighbor in config.bgp.neighbors)
    yield from _listed(config.bgp.communities, ("bgp", "communities"), kept)
    for n, neighbor in enumerate(config.bgp.neighbors):
        place: KeyPath = ("bgp", "neighbors", n, "communities")
        yield from _listed(neighbor.communities, place, neighbor.keep_blackhole)
    for g, group in enumerate(config.groups):
        yield from _listed(group.communities, ("groups", g, "communities"), kept)


def _listed(communities: Sequence[Community], key: KeyPath, kept: bool) -> Iterator[Problem]:
    """`kept`: whether a neighbor that they go to lets 65535:666 pass."""
    keyed: list[tuple[KeyPath, object]] = [((*key, c), one) for c, one in enumerate(communities)]
    yield from duplicates("community", keyed)
    for c, community in enumerate(communities):
        if community == GRACEFUL_SHUTDOWN:
            what = f"{community} is GRACEFUL_SHUTDOWN: a drain adds it, edgenode drain is for that"
            yield Problem((*key, c), what)
        if community == BLACKHOLE and not kept:
            what = (
                f"{community} asks for all packets to be dropped (RFC 7999), and is taken off "
                "each route: if that is meant, set keep_blackhole for the neighbor"
            )
            yield Problem((*key, c), what, depends=("bgp", "neighbors"))
