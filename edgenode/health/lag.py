"""Was it us? A loop that could not run in time makes probes fail whose target is well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edgenode.health.observation import Observation

TICK = 0.05
"""Seconds between two looks at the clock; a stall is found however short against it."""

TOLERANCE = 0.2
"""Share of a probe's timeout that the loop may lose before a failure is no longer believed."""

NOISE = 0.005
"""Seconds that a loop may lose without meaning anything: timers are only so exact."""


def was_late(observation: Observation, stalled: float, timeout: float) -> bool:
    """Whether a failure may be ours: it hung on time, and the loop lost too much of it.

    `stalled`: seconds within the probe in which the loop did not run. A refused connection or an
    exit status stays what it is however slow we were, and a success is never late.
    """
    return not observation.ok and observation.timed and stalled > max(NOISE, TOLERANCE * timeout)


class StallMeter:
    """Adds up how long the event loop did not run: a timer, and how much too late it fires.

    Sees whatever keeps the loop from running: a callback that blocks, a starved CPU, SIGSTOP.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._total = 0.0
        self._expected: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure the running loop."""
        self._expected = self._clock() + TICK
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._expected = None

    def total(self) -> float:
        """Seconds lost since the start, a stall that is just ending included.

        (The callbacks that a stall delayed may run before the timer that measures it.)
        """
        if self._expected is None:
            return self._total
        return self._total + max(0.0, self._clock() - self._expected)

    def _tick(self) -> None:
        self._total = self.total()
        self.start()
