"""When is a check up? A state machine over observations; pure: the time is passed in.

UNKNOWN ──rise successes in a row──▶ UP ◀──rise successes in a row── DOWN
UNKNOWN ──fall failures in a row──▶ DOWN ◀──fall failures in a row── UP
any ──confirmed──▶ DOWN
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check says, why, and since when (seconds of the monotonic clock)."""

    check: str
    state: State
    reason: str
    since: float


class RiseFall:
    """The state of one check. Starts UNKNOWN, which only `rise` or `fall` in a row end."""

    def __init__(self, check: str, rise: int, fall: int, now: float) -> None:
        """Raises ValueError where rise or fall is below 1."""
        if rise < 1 or fall < 1:
            raise ValueError(f"check {check}: rise and fall are at least 1")
        self._rise = rise
        self._fall = fall
        self._run_ok = False
        self._run = 0
        self._verdict = Verdict(check, State.UNKNOWN, "not observed yet", now)

    @property
    def verdict(self) -> Verdict:
        """The present state, with the reason of the last transition."""
        return self._verdict

    @property
    def state(self) -> State:
        return self._verdict.state

    @property
    def in_doubt(self) -> bool:
        """Whether the next results may change the state: there is none yet, or the last results
        speak against it."""
        if self.state is State.UNKNOWN:
            return True
        return self._run > 0 and self._run_ok is not (self.state is State.UP)

    def adopt(self, state: State, now: float, reason: str) -> None:
        """Take over a state that was found earlier (by the process before us): no transition."""
        self._enter(state, now, reason)

    def observe(self, ok: bool, now: float, reason: str) -> Verdict | None:
        """One observation; the verdict where it is the one that changes the state."""
        if ok is not self._run_ok:
            self._run_ok, self._run = ok, 0
        self._run += 1
        if ok and self.state is not State.UP and self._run >= self._rise:
            return self._enter(State.UP, now, reason)
        if not ok and self.state is not State.DOWN and self._run >= self._fall:
            return self._enter(State.DOWN, now, reason)
        return None

    def confirm_down(self, now: float, reason: str) -> Verdict | None:
        """Proof, not an observation: DOWN at once. None where it is DOWN already."""
        self._run_ok, self._run = False, 0  # successes before the proof count for nothing
        if self.state is State.DOWN:
            return None
        return self._enter(State.DOWN, now, reason)

    def _enter(self, state: State, now: float, reason: str) -> Verdict:
        self._run = 0
        self._verdict = Verdict(self._verdict.check, state, reason, now)
        return self._verdict
