"""What one probe saw."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

TEXT = 200
"""Characters that are taken of what a target said."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One probe's result; `duration` in seconds."""

    ok: bool
    reason: str
    duration: float
    timed: bool = False
    """A failure that hung on time: a stalled loop of ours could have caused it."""
    warning: str = ""
    """What should be looked at, though it changes nothing."""
    known: bool = True
    """Whether it says anything of the target: else `ok` means nothing."""
    expires_at: float | None = None
    """When the target's certificate ends, in seconds of the epoch."""


@dataclass(frozen=True, slots=True)
class Success:
    """What an attempt has to say that did not fail."""

    reason: str
    warning: str = ""
    expires_at: float | None = None


Probe = Callable[[], Awaitable[Observation]]
"""Probes once. Raises OSError where this process is at fault (out of descriptors, memory or
ports): that says nothing about the target."""


class ProbeFailedError(Exception):
    """The target failed the probe. `timed` as in Observation."""

    def __init__(self, reason: str, *, timed: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.timed = timed


async def observe(attempt: Awaitable[Success], limit: float, what: str) -> Observation:
    """Await an attempt, at most `limit` seconds.

    `what` names the attempt for the reason of a timeout ("connection to 192.0.2.1:80").
    """
    started = time.monotonic()
    try:
        async with asyncio.timeout(limit):
            seen = await attempt
    except ProbeFailedError as failure:
        return Observation(False, failure.reason, time.monotonic() - started, failure.timed)
    except TimeoutError:
        reason = f"{what}: no answer within {seconds(limit)}"
        return Observation(False, reason, time.monotonic() - started, True)
    return Observation(
        True,
        seen.reason,
        time.monotonic() - started,
        warning=seen.warning,
        expires_at=seen.expires_at,
    )


def seconds(value: float) -> str:
    """A duration as people write it: "500 ms", "1.5 s"."""
    return f"{value * 1000:g} ms" if value < 1 else f"{value:g} s"


def printable(text: str) -> str:
    """What others wrote, on one line, cut to TEXT characters."""
    return "".join(c if c.isprintable() else " " for c in text[: 4 * TEXT]).strip()[:TEXT]
