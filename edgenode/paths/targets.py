"""Who behind a peer is sent echoes. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgenode.config import schema
from edgenode.config.values import Address

MOST = 4
"""Addresses behind one peer."""


@dataclass(frozen=True)
class Targets:
    addresses: tuple[Address, ...]
    hosts: frozenset[Address]
    """Those of them that are the peer itself."""


def targets(peer: schema.MeshPeer, versions: Iterable[int], workers: Iterable[Address]) -> Targets:
    """The addresses that `peer` itself has, as far as its ranges tell, then workers behind it.

    A range that is one address is the peer's own where it is the only one of its family.
    `versions`: the IP versions in which this node has a mesh address.
    """
    usable = set(versions)
    own = [
        network.network_address
        for network in peer.allowed
        if network.version in usable and network.prefixlen == network.max_prefixlen
    ]
    hosts = [a for a in own if sum(1 for b in own if a.version == b.version) == 1]
    behind = [a for a in workers if a.version in usable and allows(peer, a)]
    found = tuple(dict.fromkeys([*hosts, *behind, *own]))[:MOST]
    return Targets(found, frozenset(hosts))


def allows(peer: schema.MeshPeer, address: Address) -> bool:
    """Whether packets to an address are sent to this peer."""
    return any(address.version == n.version and address in n for n in peer.allowed)
