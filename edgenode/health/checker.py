"""All checks of a node, side by side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgenode.config import Check
from edgenode.health.lag import StallMeter
from edgenode.health.risefall import State, Verdict
from edgenode.health.watch import Counters, Watch


class Checker:
    """Runs the checks and tells each change of their states.

    `on_verdict` is called synchronously, within the very event that decided (this is the way of a
    withdraw to BIRD): it must not block. What it raises is logged and counted and goes no further;
    `states()` has the verdict all the same, for whoever reconciles.
    """

    def __init__(
        self,
        checks: Sequence[Check],
        on_verdict: Callable[[Verdict], None],
        exec_runner: Path,
    ) -> None:
        """`exec_runner`: the socket of the process that runs exec checks."""
        self._meter = StallMeter(time.monotonic)
        self._watches = {
            check.name: Watch(check, on_verdict, self._meter, exec_runner) for check in checks
        }

    def states(self) -> Mapping[str, Verdict]:
        """Every check's present state."""
        return {name: watch.verdict for name, watch in self._watches.items()}

    def counters(self) -> Mapping[str, Counters]:
        """Every check's totals, for metrics."""
        return {name: watch.counters for name, watch in self._watches.items()}

    def tripped(self) -> Mapping[str, int]:
        """How often each check's tripwire ended, whatever came of it."""
        return {name: watch.tripped for name, watch in self._watches.items()}

    def adopt(self, name: str, state: State, reason: str = "taken over") -> None:
        """Start a check from a state found earlier, without a verdict. Raises KeyError."""
        self._watches[name].adopt(state, reason)

    async def run(self) -> None:
        """Until cancelled; then no task, process or socket is left."""
        self._meter.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, watch in self._watches.items():
                    tasks.create_task(watch.run(), name=f"check {name}")
                # Without a check there is nothing to do, but to be there until cancelled.
                await asyncio.get_running_loop().create_future()
        finally:
            self._meter.stop()
