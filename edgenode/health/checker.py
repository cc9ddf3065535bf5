"""All checks of a node, side by side."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from edgenode.config import Check
from edgenode.health.lag import StallMeter
from edgenode.health.risefall import State, Verdict
from edgenode.health.watch import Counters, Watch

_log = logging.getLogger(__name__)


def _log_warning(check: str, text: str) -> None:
    _log.info("check %s: %s", check, text)


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
        self.on_verdict = on_verdict
        self.on_warning: Callable[[str, str], None] = _log_warning
        """Called with a check's name and a sentence when a warning begins or ends."""
        self._exec_runner = exec_runner
        self._meter = StallMeter(time.monotonic)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._watches = {check.name: self._watch(check) for check in checks}

    def states(self) -> Mapping[str, Verdict]:
        """Every check's present state."""
        return {name: watch.verdict for name, watch in self._watches.items()}

    def states_of(self, names: Iterable[str]) -> dict[str, State]:
        """The present states of these; what is no check is left out."""
        watches = self._watches
        return {name: watches[name].verdict.state for name in names if name in watches}

    def counters(self) -> Mapping[str, Counters]:
        """Every check's totals, for metrics."""
        return {name: watch.counters for name, watch in self._watches.items()}

    def observed(self, start: float) -> dict[str, float]:
        """When each check last told something (monotonic); `start` for one that has not yet."""
        found = ((name, watch.counters.observed_at) for name, watch in self._watches.items())
        return {name: start if at is None else at for name, at in found}

    def decided(self, name: str) -> bool:
        """Whether a check's state is more than its initial one. Raises KeyError."""
        return self._watches[name].decided

    def tripped(self) -> Mapping[str, int]:
        """How often each check's tripwire ended, whatever came of it."""
        return {name: watch.tripped for name, watch in self._watches.items()}

    def adopt(self, name: str, state: State, reason: str = "taken over") -> None:
        """Start a check from a state found earlier, without a verdict. Raises KeyError."""
        self._watches[name].adopt(state, reason)

    def change(self, checks: Sequence[Check]) -> None:
        """Run these checks from now on.

        One that is configured as before goes on as if nothing had happened: its state, counters
        and tripwire are kept. One that is new, or differs in anything, begins UNKNOWN, whatever
        its `initial` says once the checks run: a group stays as it is found.
        """
        before = self._watches
        self._watches = {
            check.name: kept
            if (kept := before.get(check.name)) and kept.check == check
            else self._watch(check)
            for check in checks
        }
        for name, watch in before.items():
            if self._watches.get(name) is not watch:
                watch.retire()  # now: its verdicts would be those of the one after it
                if task := self._tasks.pop(name, None):
                    task.cancel()
        self._start()

    async def run(self) -> None:
        """Until cancelled; then no task, process or socket is left."""
        self._meter.start()
        try:
            async with asyncio.TaskGroup() as self._group:
                self._start()
                # Without a check there is nothing to do, but to be there until cancelled.
                await asyncio.get_running_loop().create_future()
        finally:
            self._group = None
            self._tasks.clear()
            self._meter.stop()

    def _watch(self, check: Check) -> Watch:
        watch = Watch(check, self._deliver, self._warn, self._meter, self._exec_runner)
        if self._group is None:
            watch.begin()
        return watch

    def _deliver(self, verdict: Verdict) -> None:
        self.on_verdict(verdict)

    def _warn(self, check: str, text: str) -> None:
        self.on_warning(check, text)

    def _start(self) -> None:
        if self._group is None:
            return
        for name, watch in self._watches.items():
            if name not in self._tasks:
                self._tasks[name] = self._group.create_task(watch.run(), name=f"check {name}")
