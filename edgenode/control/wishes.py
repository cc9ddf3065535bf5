"""The operators' intents: in memory for decisions, on disk for the time after us."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgenode.state import Intent, IntentKind, Intents, StateError

log = logging.getLogger(__name__)


class Wishes:
    """Starts with what is stored. The disk is only touched in threads."""

    def __init__(self, store: Intents) -> None:
        """Raises StateError."""
        self._store = store
        self._present = store.all()
        self._unsaved: dict[str, Intent] = {}
        """Withdraws that hold though the disk has not taken them."""
        self._disk = asyncio.Lock()
        self._problem = ""

    @property
    def present(self) -> Mapping[str, Intent]:
        """By group."""
        return self._present

    def form(self, groups: Sequence[str], kind: IntentKind, reason: str) -> dict[str, Intent]:
        """The intents that a command means.

        A drain that is asked for again does not start over, and does not bring back to the
        neighbors what was withdrawn.
        """
        formed = {}
        for name in groups:
            known = self._present.get(name)
            if known and known.kind is IntentKind.WITHDRAWN and kind is IntentKind.DRAINED:
                continue
            intent = Intent(name, kind, time.time(), reason)
            if known and known.kind is kind:
                intent = replace(intent, since=known.since)
            formed[name] = intent
        return formed

    def impose(self, intents: Mapping[str, Intent]) -> None:
        """Heed intents from now on, whatever the disk will say: a withdraw waits for no disk."""
        self._unsaved |= intents
        self._present = {**self._present, **intents}

    async def save(self, intents: Mapping[str, Intent]) -> None:
        """Remember and heed intents. Raises StateError where they cannot be remembered."""
        async with self._disk:
            await asyncio.to_thread(self._store.put, *intents.values())
            self._unsaved = {n: i for n, i in self._unsaved.items() if i != intents.get(n)}
            self._present = {**self._present, **intents}

    async def forget(self, groups: Sequence[str]) -> list[str]:
        """Those of the groups that had an intent. Raises StateError."""
        async with self._disk:
            await asyncio.to_thread(self._store.clear, *groups)
            had = [name for name in groups if name in self._present]
            self._unsaved = {n: i for n, i in self._unsaved.items() if n not in groups}
            self._present = {n: i for n, i in self._present.items() if n not in groups}
        return had

    async def look(self) -> None:
        """Heed what the command stored by itself while we could not be reached."""
        try:
            async with self._disk:
                if unsaved := dict(self._unsaved):
                    await asyncio.to_thread(self._store.put, *unsaved.values())
                    self._unsaved = {n: i for n, i in self._unsaved.items() if i != unsaved.get(n)}
                stored = await asyncio.to_thread(self._store.all)
                self._present = {**stored, **self._unsaved}
            self._problem = ""
        except StateError as error:
            if str(error) != self._problem:
                log.warning("%s", error)
            self._problem = str(error)
