"""One check at work: its polls, its tripwire, its state."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgenode.config import Check, ExecCheck
from edgenode.health.lag import StallMeter, was_late
from edgenode.health.observation import Observation
from edgenode.health.probes import probe_of, tripwire_target
from edgenode.health.risefall import RiseFall, State, Verdict
from edgenode.health.schedule import first_probe, next_probe
from edgenode.health.wire import Wire

_log = logging.getLogger(__name__)

KNOWN_WITHIN = 30.0
"""Seconds, at least, that a state stands while probes are made that say nothing of the target."""


@dataclass(slots=True)
class Counters:
    """Totals of one check since its start, for metrics."""

    succeeded: int = 0
    failed: int = 0
    late: int = 0
    """Failures set aside because our own loop was late."""
    unknown: int = 0
    """Probes that were made and said nothing of the target."""
    errors: int = 0
    """Probes that could not be made, by our own fault, and verdicts that were not taken."""
    observed_at: float | None = None
    """Monotonic time of the last probe that told something about the target."""
    duration: float = 0.0
    """Seconds of that probe."""
    trouble: str = ""
    """Why the last probe could not be made, by our own fault; empty: it could."""
    warning: str = ""
    """What the last probe found that should be looked at, though it changes nothing."""
    expires_at: float | None = None
    """When the target's certificate ends, in seconds of the epoch; None: none was seen."""


class Watch:
    """Polls one check and holds its tripwire; `on_verdict` is called at each transition.

    `on_verdict` runs within the event that caused it: it must not block. An exception from it is
    logged and counted; the state stands in `verdict` all the same. `on_warning` is called with the
    check's name and a sentence when a warning begins or ends.
    """

    def __init__(
        self,
        check: Check,
        on_verdict: Callable[[Verdict], None],
        on_warning: Callable[[str, str], None],
        meter: StallMeter,
        exec_runner: Path,
    ) -> None:
        self.check = check
        self._on_verdict = on_verdict
        self._on_warning = on_warning
        self._meter = meter
        self._probe = probe_of(check, exec_runner)
        self._known_at = time.monotonic()
        self._state = RiseFall(check.name, check.rise, check.fall, self._known_at)
        self.decided = False
        """Whether its state is more than the initial one."""
        self._proofs = 0
        self._running = False
        self.counters = Counters()
        self._wire: Wire | None = None
        if not isinstance(check, ExecCheck) and (target := tripwire_target(check)) is not None:
            self._wire = Wire(target, check.restart_grace, check.timeout, self._proved_down)

    @property
    def verdict(self) -> Verdict:
        return self._state.verdict

    @property
    def tripped(self) -> int:
        """How often the tripwire's connection ended."""
        return self._wire.fired if self._wire else 0

    def begin(self) -> None:
        """In the check's initial state: that of a start, on which nothing hangs yet."""
        if self.check.initial != "unknown":
            now = time.monotonic()
            self._state.adopt(State(self.check.initial), now, "not observed yet, initial state")

    def adopt(self, state: State, reason: str) -> None:
        """Take over a state found earlier. No verdict is given."""
        self.decided = True
        self._state.adopt(state, time.monotonic(), reason)
        self._set_wire()

    async def run(self) -> None:
        """Until cancelled; leaves no socket and no process behind."""
        self._running = True
        try:
            self._set_wire()
            usual, jitter = self.check.interval, self.check.jitter
            fast = usual if self.check.fast_interval is None else self.check.fast_interval
            at = origin = first_probe(time.monotonic(), usual, random.random())
            while True:
                await asyncio.sleep(at - time.monotonic())
                await self._poll()
                interval = fast if self._state.in_doubt else usual
                at = next_probe(origin, interval, jitter, time.monotonic(), random.random())
        finally:
            self.retire()

    def retire(self) -> None:
        """Let go of the tripwire; what `run` is at gives no verdict once that is cancelled."""
        self._running = False
        self._set_wire()

    async def _poll(self) -> None:
        proofs, stalled = self._proofs, self._meter.total()
        try:
            observation = await self._probe()
        except OSError as error:
            self._not_made(str(error))
            return
        except Exception as error:
            # No verdict: the error tells of us, and one check's bug must not stop any.
            self._not_made(f"{type(error).__name__} in the probe, see the log", error)
            return
        if self.counters.trouble:
            _log.info("check %s: the probe can be made again", self.check.name)
            self.counters.trouble = ""
        if was_late(observation, self._meter.total() - stalled, self.check.timeout):
            self.counters.late += 1
            _log.warning(
                "check %s: set aside, we were late: %s", self.check.name, observation.reason
            )
            return
        if self._proofs == proofs:  # else it began before the proof, and what it saw is gone
            self._observed(observation)

    def _not_made(self, trouble: str, bug: Exception | None = None) -> None:
        """Said once: it may last, and come with every poll."""
        self.counters.errors += 1
        if trouble != self.counters.trouble:
            self.counters.trouble = trouble
            _log.error(
                "check %s: the probe could not be made: %s",
                self.check.name,
                trouble,
                exc_info=bug,
            )

    def _observed(self, observation: Observation) -> None:
        now = time.monotonic()
        self.counters.observed_at = now
        self.counters.duration = observation.duration
        self._warn(observation)
        if not observation.known:
            self.counters.unknown += 1
            limit = max(KNOWN_WITHIN, 3 * (self.check.interval + self.check.timeout))
            if now - self._known_at > limit:
                reason = f"nothing is known of it for {now - self._known_at:.0f} s"
                self._tell(self._state.confirm_down(now, f"{reason}: {observation.reason}"))
            return
        self._known_at = now
        if observation.ok:
            self.counters.succeeded += 1
        else:
            self.counters.failed += 1
            if self._wire is not None and self._wire.waits_out_restart:
                return  # else `fall` failures would cut the grace short
        self._tell(self._state.observe(observation.ok, now, observation.reason))

    def _warn(self, observation: Observation) -> None:
        """Said when it begins and when it ends: its words may change with every probe."""
        before, self.counters.warning = self.counters.warning, observation.warning
        if observation.ok:
            self.counters.expires_at = observation.expires_at
        if observation.warning and not before:
            self._on_warning(self.check.name, f"warning: {observation.warning}")
        elif before and not observation.warning:
            self._on_warning(self.check.name, "no warning any more")

    def _proved_down(self, reason: str) -> None:
        self._proofs += 1
        self._tell(self._state.confirm_down(time.monotonic(), reason))

    def _tell(self, verdict: Verdict | None) -> None:
        if verdict is None:
            return
        self.decided = True
        try:
            self._on_verdict(verdict)
        except Exception:
            self.counters.errors += 1
            _log.exception("check %s: its verdict was not taken", self.check.name)
        self._set_wire()

    def _set_wire(self) -> None:
        """A tripwire is held while the check is up: only then has it something to tell."""
        if self._wire is None:
            return
        if self._running and self._state.state is State.UP:
            self._wire.arm()
        else:
            self._wire.disarm()
