"""Under which of its two keys a peer is reached while it changes its key. Pure.

A peer has one private key at a time, so handshakes come under one of its keys only. WireGuard
gives an address to one peer: the addresses follow the handshakes, forth and, if the peer takes
its change back, back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from edgenode.config import MeshPeer
from edgenode.mesh.state import PeerState


def under_next(
    peers: Iterable[MeshPeer], present: Mapping[str, PeerState], ages: Mapping[str, float]
) -> frozenset[str]:
    """The names of the peers whose addresses belong to their next key.

    `present` has the device's peers, `ages` the seconds since their handshakes, by public key.
    Without a younger handshake under the other key, addresses stay where they are.
    """
    found = set()
    for peer in peers:
        if peer.next_public_key is None:
            continue
        state = present.get(peer.next_public_key)
        there = state is not None and bool(state.allowed)
        now, after = ages.get(peer.public_key, inf), ages.get(peer.next_public_key, inf)
        if after < now or (there and after == now):
            found.add(peer.name)
    return frozenset(found)
