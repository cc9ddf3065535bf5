"""Finds a peer that is two nodes: a machine that was copied with its key and address. Pure.

WireGuard answers whoever spoke last under a key, so the two take each other's packets away. Seen
from here, the peer moves to and fro.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from edgenode.mesh.mesh import PeerStatus

WINDOW = 60.0
"""Seconds in which returns are counted."""
RETURNS = 3
"""Moves to where the peer was before: a laptop changes its network and back, twins never stop."""


class Twins:
    """Remembers where the peers spoke from."""

    def __init__(self) -> None:
        self._places: dict[str, deque[tuple[float, str]]] = {}
        """By the peer's name: the times at which it was seen to be elsewhere than before."""

    def update(self, peers: Iterable[PeerStatus], now: float) -> dict[str, str]:
        """What is wrong, by the peers' names; `now` is a monotonic time."""
        seen: dict[str, deque[tuple[float, str]]] = {}
        found = {}
        for peer in peers:
            places = seen[peer.name] = self._places.get(peer.name) or deque(maxlen=64)
            # Another port alone is a NAT that forgot, not another host. One without a session does
            # not speak: where its name has several addresses, we look for it at each in turn.
            speaks = None if peer.stale else peer.endpoint
            host = speaks.rpartition(":")[0] if speaks else None
            if host and (not places or places[-1][1] != host):
                places.append((now, host))
            while len(places) > 1 and now - places[1][0] > WINDOW:
                places.popleft()
            hosts = list(dict.fromkeys(host for _, host in places))
            if len(places) - len(hosts) >= RETURNS:
                found[peer.name] = (
                    f"speaks from {' and '.join(hosts[:4])} in turns: two nodes have its key, and "
                    "take each other's packets away; give one a key and a mesh address of its own"
                )
        self._places = seen
        return found
