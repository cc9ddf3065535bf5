"""The account of what our changes have cost us with the upstreams, group by group.

What is decided with it is in `edgenode.bgp.damping`; here it is kept, and stored behind the
decisions' back: no withdraw waits for the disk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from edgenode.bgp import damping
from edgenode.bgp.damping import History, Wait
from edgenode.bgp.levels import Level, more_cautious
from edgenode.config import Group
from edgenode.config.schema import Damping
from edgenode.state.penalties import Moment, Penalties, Row, age, present_moment

AGAIN = 5.0
"""Seconds until the disk is tried again."""
GONE = 86400.0
"""Seconds without a change after which a group that is not configured is forgotten, at a start: an
undo may bring it back before, and no upstream damps for longer."""


NO_WAIT = Wait()


class Ledger:
    """Levels go up only as far and as soon as it allows; `announced` is told of every change."""

    def __init__(self, groups: Iterable[Group], store: Penalties | None) -> None:
        """Reads what is stored. `store` None: nothing is kept."""
        self._groups = {group.name: group for group in groups}
        self._store = store
        self._histories: dict[str, History] = {}
        self._levels: dict[str, Level] = {}
        """As announced, as far as is known: stored, so that a start can tell what came between."""
        self._waived: set[str] = set()
        self._unsaved: set[str] = set()
        self._changed = asyncio.Event()
        now = present_moment()
        stored = store.all() if store else {}
        self._gone = [n for n, r in stored.items() if self._forgets(n, age(r.at, now))]
        for name, row in stored.items():
            self._histories[name] = history(row, now)
            self._levels[name] = Level(row.level) if row.level in set(Level) else Level.WITHDRAWN

    def _forgets(self, name: str, seconds: float) -> bool:
        return name not in self._groups and seconds > GONE

    def change(self, groups: Iterable[Group]) -> None:
        """The configuration is another one; what is known of groups that stay is kept."""
        self._groups = {group.name: group for group in groups}

    def start(self, found: Mapping[str, Level]) -> dict[str, Level]:
        """What is announced at the start. Groups that no longer are were withdrawn without us, by
        the lifeline or with the machine; at which level they were."""
        gone: dict[str, Level] = {}
        for name in self._groups:
            after = found.get(name, Level.WITHDRAWN)
            if after is Level.WITHDRAWN:
                if (before := self._levels.get(name, after)) is not after:
                    gone[name] = before
                self.announced(name, after)
            self._levels[name] = after
        return gone

    def wait(self, name: str, before: Level, after: Level) -> Wait:
        """How long a group must stay at a level until it may go to another."""
        if name in self._waived or not more_cautious(before, after):
            return NO_WAIT  # as `damping.wait` says; a withdraw does not ask it first
        group = self._groups[name]
        return damping.wait(
            self._histories.get(name, History()),
            before,
            after,
            time.monotonic(),
            group.damping,
            group.hold_down,
        )

    def waive(self, names: Iterable[str]) -> None:
        """An operator has said that these groups need not wait, the next time."""
        self._waived.update(names)

    def announced(self, name: str, level: Level) -> None:
        """How a group is announced now; nothing to account for where it was so before."""
        before = self._levels.get(name, Level.WITHDRAWN)
        if before is not level:
            self._levels[name] = level
            self._waived.discard(name)
            self._keep(name, damping.charge(*self._account(name, before, level)))

    def touched(self, names: Iterable[str]) -> None:
        """Groups are announced as before, but look different to a neighbor."""
        for name in names:
            if name in self._groups and self._levels.get(name) not in (None, Level.WITHDRAWN):
                account = self._account(name, Level.NORMAL, Level.DEGRADED)
                self._keep(name, damping.charge(*account))

    def _account(
        self, name: str, before: Level, after: Level
    ) -> tuple[History, Level, Level, float, Damping]:
        known = self._histories.get(name, History())
        return known, before, after, time.monotonic(), self._groups[name].damping

    def _keep(self, name: str, history: History) -> None:
        self._histories[name] = history
        self._unsaved.add(name)
        self._changed.set()

    def status(self, name: str) -> dict[str, Any]:
        """For people: the penalty now, and the threshold."""
        figures = self._groups[name].damping
        known = self._histories.get(name, History())
        now = time.monotonic()
        return {
            "enabled": figures.enabled,
            "value": round(damping.present(known, now, figures), 1),
            "suppress": figures.suppress,
            "withdrawn_s_ago": None
            if known.withdrawn_at is None
            else round(max(0.0, now - known.withdrawn_at), 1),
        }

    async def run(self) -> None:
        """Store what has changed, until cancelled."""
        if self._store and self._gone:
            gone, self._gone = self._gone, []
            await asyncio.to_thread(self._store.prune, gone)
        while self._store:
            await self._changed.wait()
            self._changed.clear()
            names, self._unsaved = self._unsaved, set()
            now = present_moment()
            rows = [self._row(name, now) for name in names]
            if not await asyncio.to_thread(self._store.put, rows):
                self._unsaved |= names
                await asyncio.sleep(AGAIN)
                self._changed.set()

    def _row(self, name: str, now: Moment) -> Row:
        known = self._histories[name]
        at = Moment(known.at, now.wall - max(0.0, now.monotonic - known.at))
        withdrawn = None if known.withdrawn_at is None else max(0.0, known.at - known.withdrawn_at)
        return Row(name, known.penalty, withdrawn, self._levels[name].value, at)


def history(row: Row, now: Moment) -> History:
    """What was stored, in terms of this boot's monotonic clock. Pure."""
    at = now.monotonic - age(row.at, now)
    withdrawn = None if row.withdrawn_before is None else at - row.withdrawn_before
    return History(row.penalty, at, withdrawn)
