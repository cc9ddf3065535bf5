"""How far a worker is: round-trip times without their noise. Pure; all times in seconds."""

from __future__ import annotations

from dataclasses import dataclass

WINDOW = 5
"""Samples of which the least counts: a queue or a busy worker only ever adds to the distance.
(The first connect through an idle tunnel also waits for its handshake.)"""

GAIN = 1 / 8
"""Weight of the newest figure, as in TCP's smoothed round-trip time (RFC 6298)."""


@dataclass(frozen=True)
class Rtt:
    smoothed: float
    recent: tuple[float, ...]
    """The last `WINDOW` samples."""


def smooth(before: Rtt | None, sample: float) -> Rtt:
    """Take one more sample. Until the window is full its least sample stands for itself."""
    if before is None:
        return Rtt(sample, (sample,))
    recent = (*before.recent, sample)[-WINDOW:]
    least = min(recent)
    if len(before.recent) < WINDOW:
        return Rtt(least, recent)
    return Rtt(before.smoothed + GAIN * (least - before.smoothed), recent)
