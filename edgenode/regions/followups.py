"""Asks again while a probe is out and unanswered, without waiting for its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from edgenode.config import RegionProbe
from edgenode.health.lag import NOISE, StallMeter
from edgenode.regions.suspicion import Suspicion


class FollowUps:
    """Of one target. A timer while a probe is out; a task only when its answer is overdue."""

    def __init__(
        self,
        suspicion: Suspicion,
        ask: Callable[[], Awaitable[bool]],
        on_overdue: Callable[[bool], None],
        clock: Callable[[], float],
        stalls: StallMeter,
    ) -> None:
        """`ask` probes once more, and says whether there was an answer.

        `on_overdue` gets whether the target has just become a suspect.
        """
        self._suspicion = suspicion
        self._ask = ask
        self._on_overdue = on_overdue
        self._clock = clock
        self._stalls = stalls
        self._lost = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._asking: set[asyncio.Task[None]] = set()

    def sent(self, usual: float, probe: RegionProbe) -> None:
        """A probe is out, of a target that usually answers after so many seconds."""
        now = self._clock()
        due = self._suspicion.sent(now, usual, probe)
        if due is not None:
            self._lost = self._stalls.total()
            self._wait(due - now)

    def over(self) -> None:
        """The probe has ended."""
        self._stop_waiting()
        for task in self._asking:
            task.cancel()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._overdue)

    def _overdue(self) -> None:
        lost = self._stalls.total() - self._lost
        if lost > NOISE:
            # Our own loop did not run: the answer may be there, and not have been read yet.
            self._lost += lost
            self._wait(lost)
            return
        now = self._clock()
        suspected, due = self._suspicion.overdue(now)
        self._wait(due - now)
        task = asyncio.get_running_loop().create_task(self._ask_again())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        self._on_overdue(suspected)

    async def _ask_again(self) -> None:
        if await self._ask():
            self._stop_waiting()
