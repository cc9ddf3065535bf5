"""Which table is in force, which one is on trial, and which are set aside. Pure.

offered → (waits →) on trial → in force; what is at fault is set aside.

A new table goes to one relay worker first, the canary. It is in force, and goes to the others, once
the canary has applied it and has then still answered. One table is on trial at a time; of those
that wait meanwhile only the newest counts. Whose fault it is when a relay worker ends:

1. The canary's end is the fault of the table on trial. If something else has ended or stopped it
   the table is tried once more, and only then at fault.
2. A crash, or falling silent, within moments after a table came into force is the fault of that
   table, and of those that followed it: the newest that is older is in force again. Where there is
   none, there is nothing better.
3. Any other end is no table's fault.
4. If a relay worker that was started since then fails by itself, too, then what rule 2 has set
   aside is acquitted, and may come again.

What is set aside is known by its content: it is refused whenever it is offered again. What a crash
under trial has shown to be at fault is refused for good. All else may have had another reason
(memory that ran out, a machine that stood still, a fault that any user sets off), and a table may
be all that keeps users from a dead region: such content may be offered again after a while
(`release`), which doubles each time.

Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from enum import Enum, auto

from edgenode.steering.table import Table, TableError

MOMENTS = 3.0
"""Seconds after a table came into force in which a relay worker's failure is its fault."""

BEAT = 1.0
"""Seconds between two heartbeats of a relay worker: it may fall silent so long after the last."""

_ACQUIT = 60.0  # seconds after a table was set aside in which another failure acquits it
_KEPT = 15.0  # seconds for which tables are remembered that were in force: a silence is found late
_MOST_REFUSED = 32
_PAUSE, _LONGEST_PAUSE = 60.0, 3600.0  # seconds until what may be innocent may come again

_LONG_AGO = float("-inf")


class Fault(Enum):
    """How a relay worker has ended."""

    CRASHED = auto()
    HUNG = auto()
    OTHERS = auto()  # killed or stopped from outside


@dataclass(slots=True)
class Entry:
    """A table on its way. `since` when it came into force; `trusted`: it was before this process.

    Numbers count what was offered.
    """

    number: int
    table: Table
    trusted: bool = False
    since: float = _LONG_AGO
    trials: int = 0


@dataclass(frozen=True, slots=True)
class _Refusal:
    """`acquit`: it may be acquitted. `until`: when it ends, after a pause of so many seconds; it is
    remembered then, so that the next one is longer."""

    reason: str
    acquit: bool
    pause: float
    until: float
    over: bool = False


@dataclass(frozen=True, slots=True)
class Ruling:
    """Tables are set aside, oldest first; `back` is in force (None: none is).

    `everywhere`: all relay workers are to be given `back`; else it is what they have. `dropped`
    were not judged, and may be offered again; so may what was set aside before, if `acquitted`.
    """

    tables: tuple[Entry, ...] = ()
    back: Entry | None = None
    everywhere: bool = False
    dropped: tuple[Entry, ...] = ()
    acquitted: bool = False


class Rollout:
    def __init__(self) -> None:
        self.present: Entry | None = None
        """The table in force."""
        self.trial: Entry | None = None
        self.canary = -1
        """Which relay worker tries it."""
        self.waiting: Entry | None = None
        self._number = 0
        self._past: list[Entry] = []  # in force before the present one; the first is above doubt
        self._refused: dict[str, _Refusal] = {}
        self._set_aside_at = _LONG_AGO  # by rule 2

    def offer(self, table: Table, trusted: bool = False) -> Entry:
        """A new table; it waits for its trial. Raises TableError if its content is set aside."""
        if self._refused and (known := self._refused.get(_content(table))) and not known.over:
            raise TableError(known.reason)
        self._number += 1
        self.waiting = Entry(self._number, table, trusted)
        return self.waiting

    def withdraw(self, entry: Entry) -> None:
        """It cannot be tried at all."""
        if self.waiting is entry:
            self.waiting = None

    def begin(self, row: int) -> Entry:
        """The one that waits goes on trial, with this relay worker."""
        entry, self.waiting = self.waiting, None
        if entry is None or self.trial is not None:
            raise RuntimeError("no table waits, or another is on trial")
        entry.trials += 1
        self.trial, self.canary = entry, row
        return entry

    def confirmed(self, row: int, number: int, now: float) -> Entry | None:
        """A relay worker answers under a table; return the one that is in force by it."""
        trial = self.trial
        if trial is None or row != self.canary or number != trial.number:
            return None
        if self.present is not None:
            self._past.append(self.present)
            while len(self._past) > 1 and self._past[1].since <= now - _KEPT:
                del self._past[0]
        trial.since = _LONG_AGO if trial.trusted else now
        self.present, self.trial = trial, None
        return trial

    def release(self, now: float) -> bool:
        """Let what has been refused for long enough come again; whether there is any."""
        due = [key for key, one in self._refused.items() if not one.over and now >= one.until]
        for key in due:
            self._refused[key] = replace(self._refused[key], over=True)
        return bool(due)

    def next_release(self) -> float:
        """When `release` is needed next."""
        times = (one.until for one in self._refused.values() if not one.over)
        return min(times, default=float("inf"))

    def ended(
        self, row: int, started: float, fault: Fault, at: float, now: float, reason: str
    ) -> Ruling | None:
        """A relay worker has ended.

        `at` is when it was last well, `reason` why its table is refused if that is at fault.
        """
        if self.trial is not None and row == self.canary:
            return self._end_trial(self.trial, fault, now, reason)
        if fault is Fault.OTHERS or self.present is None:
            return None
        return self._end_moment(at, now, reason) or self._acquit(started, now)

    def _end_trial(self, trial: Entry, fault: Fault, now: float, reason: str) -> Ruling | None:
        self.trial = None
        if fault is Fault.OTHERS and trial.trials == 1:
            self.waiting = self.waiting or trial
            return None
        self._refuse(trial, now, reason, acquit=False, certain=fault is Fault.CRASHED)
        return Ruling((trial,), self.present)

    def _end_moment(self, at: float, now: float, reason: str) -> Ruling | None:
        assert self.present is not None
        known = [*self._past, self.present]
        first = len(known)
        while first > 1 and known[first - 1].since + MOMENTS > at:
            first -= 1
        culprits = known[first:]
        if not culprits or at < culprits[0].since - BEAT:
            return None
        for entry in culprits:
            self._refuse(entry, now, reason, acquit=True)
        self._set_aside_at = now
        dropped = tuple(one for one in (self.trial, self.waiting) if one is not None)
        self.trial = self.waiting = None
        self._past.clear()
        self._number += 1
        self.present = Entry(self._number, known[first - 1].table)
        return Ruling(tuple(culprits), self.present, everywhere=True, dropped=dropped)

    def _acquit(self, started: float, now: float) -> Ruling | None:
        if started < self._set_aside_at or now >= self._set_aside_at + _ACQUIT:
            return None
        self._set_aside_at = _LONG_AGO
        self._refused = {key: one for key, one in self._refused.items() if not one.acquit}
        return Ruling(back=self.present, acquitted=True)

    def _refuse(
        self, entry: Entry, now: float, reason: str, acquit: bool, certain: bool = False
    ) -> None:
        content = _content(entry.table)
        known = self._refused.pop(content, None)
        pause = _PAUSE if known is None else min(2 * known.pause, _LONGEST_PAUSE)
        until = float("inf") if certain else now + pause
        self._refused[content] = _Refusal(reason, acquit, pause, until)
        while len(self._refused) > _MOST_REFUSED:
            del self._refused[next(iter(self._refused))]


def _content(table: Table) -> str:
    """What a table says, whatever its revision, as a digest."""
    text = json.dumps(replace(table, revision=0).to_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
