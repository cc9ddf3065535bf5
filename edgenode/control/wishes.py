"""The operators' intents: in memory for decisions, on disk for the time after us."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from edgenode import regularfile
from edgenode.control.intent import ended, words
from edgenode.state import NODE, Intent, IntentKind, Intents, Key, StateError

log = logging.getLogger(__name__)

_WEIGHT = {
    IntentKind.DEGRADED: 1,
    IntentKind.DRAINED: 2,
    IntentKind.MAINTENANCE: 2,
    IntentKind.WITHDRAWN: 3,
}
_NOT_ASKED: tuple[bool | None, str] = (False, "")
FILE = "the file"
"""What the author of the file's maintenance is called, before its path."""


class Wishes:
    """Starts with what is stored. The disk is only touched in threads."""

    def __init__(self, store: Intents, maintenance_file: Path | None = None) -> None:
        """Raises StateError."""
        self._store = store
        self._present: Mapping[Key, Intent] = store.all()
        self._by_group: dict[str, tuple[Intent, ...]] = {}
        self._unsaved: dict[Key, Intent] = {}
        """What holds though the disk has not taken it."""
        self._lifted: dict[Key, Intent] = {}
        """Pauses that have ended though the disk has them still."""
        self._disk = asyncio.Lock()
        self._problem = ""
        self.maintenance_file = maintenance_file
        self._set(self._present)

    @property
    def present(self) -> Mapping[Key, Intent]:
        """All intents."""
        return self._present

    def of(self, group: str) -> tuple[Intent, ...]:
        """What is asked of a group, by itself and with the node."""
        return self._by_group.get(group, ()) + self._by_group.get(NODE, ())

    @property
    def paused(self) -> Intent | None:
        """Whether, and why, nothing is to move by itself."""
        return self._present.get((NODE, IntentKind.PAUSED.value))

    @property
    def towards(self) -> frozenset[tuple[str, str]]:
        """Pairs of a group and the neighbor towards which alone it is degraded."""
        return self._towards

    def form(self, wanted: Iterable[Intent]) -> dict[Key, Intent]:
        """The intents that a command means.

        A drain that is asked for again does not start over, and no intent brings back to the
        neighbors what a more cautious one took away: it is left out.
        """
        formed = {}
        for intent in wanted:
            known = self._present.get(intent.key)
            if known and _weight(known) > _weight(intent):
                continue
            if known and _weight(known) == _weight(intent):
                intent = replace(intent, since=known.since)
            formed[intent.key] = intent
        return formed

    def impose(self, intents: Mapping[Key, Intent]) -> None:
        """Heed intents from now on, whatever the disk will say: a withdraw waits for no disk."""
        self._unsaved |= intents
        self._set({**self._present, **intents})

    async def save(self, intents: Mapping[Key, Intent]) -> None:
        """Remember and heed intents, but for those that a more cautious one has overtaken since
        they were formed. Raises StateError where they cannot be remembered.
        """
        async with self._disk:
            intents = self.form(intents.values())
            await asyncio.to_thread(self._store.put, *intents.values())
            self._unsaved = _without(self._unsaved, intents)
            self._lifted = {k: i for k, i in self._lifted.items() if k not in intents}
            # What was imposed while the disk was busy is newer.
            self._set({**self._present, **intents, **self._unsaved})

    async def forget(self, keys: Iterable[Key]) -> list[Intent]:
        """Those that were there. Raises StateError."""
        async with self._disk:
            gone = {key: self._present[key] for key in keys if key in self._present}
            if not gone:
                return []
            try:
                await asyncio.to_thread(self._store.clear, *gone)
            except StateError:
                # The end of a pause waits for no disk: no check withdraws anything before.
                self._lifted |= {k: i for k, i in gone.items() if i.kind is IntentKind.PAUSED}
                self._unsaved = _without(self._unsaved, self._lifted)
                self._set(_without(self._present, self._lifted))
                raise
            # These alone: a withdraw may have come in the place of one meanwhile.
            self._unsaved = _without(self._unsaved, gone)
            self._set(_without(self._present, gone))
        return list(gone.values())

    async def look(self) -> list[tuple[Intent, str]]:
        """Heed what the command stored by itself while we could not be reached, the file, and
        the time. Returns what has come and gone, in words.
        """
        async with self._disk:
            before = self._present
        problems: list[str] = []
        # One after the other, whatever becomes of the first: a full disk hides no file.
        for step in (self._catch_up, self._heed_file, self._end):
            try:
                await step()
            except StateError as error:
                problems.append(str(error))
        problem = "; ".join(dict.fromkeys(problems))
        if problem and problem != self._problem:
            log.warning("%s", problem)
        self._problem = problem
        after = self._present
        now = time.time()
        return [(i, words(i)) for k, i in after.items() if i != before.get(k)] + [
            (i, f"{i.kind} ended" + (": its time is over" if ended([i], now) else ""))
            for k, i in before.items()
            if k not in after
        ]

    async def _catch_up(self) -> None:
        """The disk with us, and we with the disk. Raises StateError."""
        async with self._disk:
            if self._present and not await asyncio.to_thread(self._store.there):
                # Removed, or the file system is gone: no operator's word that groups be announced.
                if not self._unsaved:
                    log.warning("the stored intents are gone: those in force are stored anew")
                self._unsaved = _without(self._present, self._lifted)
            try:
                if lifted := dict(self._lifted):
                    await asyncio.to_thread(self._store.clear, *lifted)
                    self._lifted = _without(self._lifted, lifted)
                if unsaved := dict(self._unsaved):
                    await asyncio.to_thread(self._store.put, *unsaved.values())
                    self._unsaved = _without(self._unsaved, unsaved)
            finally:
                stored = await asyncio.to_thread(self._store.all)
                self._set({**_without(stored, self._lifted), **self._unsaved})

    async def _end(self) -> None:
        """Forget what is over. Raises StateError."""
        await self.forget([each.key for each in ended(self._present.values(), time.time())])

    async def _heed_file(self) -> None:
        """Maintenance of the node as long as the file is there, however it got there."""
        if self.maintenance_file is None:
            there, reason = _NOT_ASKED
        else:
            there, reason = await asyncio.to_thread(_look_at, self.maintenance_file)
        key = (NODE, IntentKind.MAINTENANCE.value)
        known = self._present.get(key)
        if there and known is None:
            author = f"{FILE} {self.maintenance_file}"
            intent = Intent(NODE, IntentKind.MAINTENANCE, time.time(), reason, author=author)
            self.impose({key: intent})
            await self.save({key: intent})
        elif there is False and known and known.author.startswith(f"{FILE} "):
            await self.forget([key])

    def _set(self, intents: Mapping[Key, Intent]) -> None:
        self._present = intents
        by_group: dict[str, tuple[Intent, ...]] = {}
        for intent in intents.values():
            by_group[intent.group] = (*by_group.get(intent.group, ()), intent)
        self._by_group = by_group
        self._towards = frozenset(i.key for i in intents.values() if i.neighbor)


def _without(intents: Mapping[Key, Intent], gone: Mapping[Key, Intent]) -> dict[Key, Intent]:
    return {key: intent for key, intent in intents.items() if intent != gone.get(key)}


def _weight(intent: Intent) -> int:
    return _WEIGHT.get(intent.kind, 0)


def _look_at(path: Path) -> tuple[bool | None, str]:
    """Whether the file is there, and its first line; None: nothing can be known of it."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False, ""
    except OSError as error:
        log.warning("whether %s is there cannot be known: %s", path, error.strerror)
        return None, ""
    try:
        raw, _ = regularfile.begin(path, 200)
    except OSError:
        return True, ""
    line = raw.split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    return True, "".join(char if char.isprintable() else "?" for char in line)
