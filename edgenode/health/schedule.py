"""When a check is probed: a grid of one slot an interval, each probe a little behind its slot.

Times are seconds of the monotonic clock; `draw` is a random number in [0, 1), passed in.
"""

from __future__ import annotations

from math import floor

SPREAD = 1.0
"""Seconds over which the first probes are spread, so that a start is no burst of all checks
and still soon has its first results."""


def first_probe(now: float, interval: float, draw: float) -> float:
    """The first probe's time, which is also the origin of the grid."""
    return now + min(interval, SPREAD) * draw


def next_probe(origin: float, interval: float, jitter: float, now: float, draw: float) -> float:
    """The time of the next probe: the first slot after `now`, moved by `jitter` × `draw`.

    Counted from the origin and never from the last probe: neither jitter nor slow probes add up.
    Slots that a slow probe (or a stopped process) missed are skipped, not made up for.
    `jitter` is a share of the interval, below 1.
    """
    slot = floor((now - origin) / interval) + 1
    if origin + slot * interval <= now:  # rounding: this slot is the present one
        slot += 1
    return origin + (slot + jitter * draw) * interval
