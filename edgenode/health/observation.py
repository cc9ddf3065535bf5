"""What one probe saw."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Observation:
    """One probe's result; `duration` in seconds."""

    ok: bool
    reason: str
    duration: float
    timed: bool = False
    """A failure that hung on time: a stalled loop of ours could have caused it."""


Probe = Callable[[], Awaitable[Observation]]
"""Probes once. Raises OSError where this process is at fault (out of descriptors, memory or
ports): that says nothing about the target."""


class ProbeFailedError(Exception):
    """The target failed the probe. `timed` as in Observation."""

    def __init__(self, reason: str, *, timed: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.timed = timed


async def observe(attempt: Awaitable[str], limit: float, what: str) -> Observation:
    """Await an attempt that returns its reason, at most `limit` seconds.

    `what` names the attempt for the reason of a timeout ("connection to 192.0.2.1:80").
    """
    started = time.monotonic()
    ok, timed = False, False
    try:
        async with asyncio.timeout(limit):
            reason = await attempt
            ok = True
    except ProbeFailedError as failure:
        reason, timed = failure.reason, failure.timed
    except TimeoutError:
        reason, timed = f"{what}: no answer within {seconds(limit)}", True
    return Observation(ok, reason, time.monotonic() - started, timed)


def seconds(value: float) -> str:
    """A duration as people write it: "500 ms", "1.5 s"."""
    return f"{value * 1000:g} ms" if value < 1 else f"{value:g} s"
