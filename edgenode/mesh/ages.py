"""How long ago the peers' handshakes were, whatever is done to the wall clock. Pure.

WireGuard tells handshakes in UNIX time. After a step of the wall clock that says nothing any more,
so a handshake is dated by it once only: when nothing was known of the peer before.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgenode.mesh.state import PeerState


class Ages:
    """Remembers when each peer's handshake was seen to change."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float | None, float]] = {}
        """By public key: the handshake (UNIX time), and the monotonic time that it was at."""

    def update(self, peers: Iterable[PeerState], wall: float, now: float) -> dict[str, float]:
        """Seconds since each peer's handshake, by public key, for those that had one.

        `wall` is UNIX time, `now` a monotonic clock. One that changed since the last update is
        taken to be of now: its age is short by no more than the time between the two.
        """
        seen = {peer.public_key: self._date(peer, wall, now) for peer in peers}
        self._seen = seen
        return {key: now - born for key, (at, born) in seen.items() if at is not None}

    def _date(self, peer: PeerState, wall: float, now: float) -> tuple[float | None, float]:
        known = self._seen.get(peer.public_key)
        at = peer.handshake_at
        if known is None and at is not None:
            return at, now - max(0.0, wall - at)
        return known if known is not None and known[0] == at else (at, now)
