"""What came from a peer, by WireGuard's counter of received bytes. Pure.

Kernel and wireguard-go count what is authentic, handshakes and keepalives too, so each has a size
that tells it: a handshake's initiation 148 bytes, its response 92, and a packet 32 more than what
it carries, which is padded to 16 (whitepaper, section 5.4). A cookie is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

INITIATION = 148
RESPONSE = 92
HANDSHAKES = 3
"""Messages between two looks, which are seconds apart: WireGuard sends an initiation each 5 s."""

_SUMS = {
    initiations * INITIATION + responses * RESPONSE: (initiations, responses)
    for initiations in range(HANDSHAKES + 1)
    for responses in range(HANDSHAKES + 1 - initiations)
}


@dataclass(frozen=True)
class Arrivals:
    """Monotonic seconds of the look *before* the one that found something: so it came later."""

    looked: float | None = None
    rx: int = 0
    data: float | None = None
    """A packet or a keepalive."""
    response: float | None = None
    """The answer to a handshake of ours, and no packet."""
    call: float | None = None
    """A handshake that the peer itself began, and nothing else."""
    calls: int = 0
    """The peer's own initiations since anything else came: it calls, and does not hear us."""

    def look(self, rx: int, now: float) -> Arrivals:
        """The counter stands at `rx`."""
        since, more = self.looked, rx - self.rx
        seen = replace(self, looked=now, rx=rx)
        if since is None or more <= 0:  # less: the device was made anew
            return seen
        if more not in _SUMS:
            return replace(seen, data=since, calls=0)
        initiations, responses = _SUMS[more]
        if responses:
            return replace(seen, response=since, calls=0)
        return replace(seen, call=since, calls=seen.calls + initiations)
