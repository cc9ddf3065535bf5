"""What operators ask of a running control: carried out, or refused with a reason."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgenode.api.requests import Request
from edgenode.bgp.lastsite import Judgement
from edgenode.bgp.levels import Level
from edgenode.control.intent import words
from edgenode.control.lastsite import guarded, refuse_last
from edgenode.control.wishes import Wishes
from edgenode.state import NODE, Intent, IntentKind, StateError

log = logging.getLogger(__name__)

LOOK = 2.0
"""Seconds between two looks at the stored intents."""
REMINDER = 300.0
"""Seconds between two lines of the log that say that the node is paused."""


@dataclass(frozen=True)
class Commands:
    """The order of things: the guard, then BIRD, then the disk."""

    wishes: Wishes
    levels: Callable[[], Mapping[str, Level]]
    """In force, by group."""
    others: Callable[[Iterable[str]], Awaitable[Mapping[str, Judgement]]]
    """What is known of other sites that announce these groups' prefixes."""
    give: Callable[[Mapping[str, Level]], None]
    decide: Callable[[], None]
    """Decide anew, of all groups."""
    degrade_towards: Callable[[], Awaitable[str]]
    """Bring what is wanted of single neighbors to BIRD; why it did not take it, if so."""
    waive: Callable[[Iterable[str]], None]
    """These groups need not wait, the next time."""
    note: Callable[[str, str, str], None]

    async def heed(self, request: Request) -> Sequence[str]:
        """What there is to say about it. Raises LastSite, StateError."""
        return await (self._release(request) if request.kind is None else self._intend(request))

    async def begin(self) -> None:
        """Note what is wanted at our start: with control dead nobody noted what was stored."""
        for intent in self.wishes.present.values():
            self.note("intent", intent.group, f"{words(intent)}, found at the start")
        await self.look()

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        reminded_at = -REMINDER
        while True:
            await asyncio.sleep(LOOK)
            await self.look()  # the next decisions heed it
            await self.degrade_towards()
            # A pause is easily forgotten, and then nothing withdraws a dead proxy's prefix.
            if (pause := self.wishes.paused) and time.monotonic() - reminded_at > REMINDER:
                reminded_at = time.monotonic()
                log.warning("%s: no check %s", words(pause), self._undone())

    def _undone(self) -> str:
        """What a pause leaves undone: also what the lifeline took away stays away."""
        away = sorted(name for name, level in self.levels().items() if level is Level.WITHDRAWN)
        return "withdraws anything" + (f", or brings back {', '.join(away)}" if away else "")

    async def look(self) -> None:
        """Heed what is stored, what the file says, and what the clock ends."""
        for intent, text in await self.wishes.look():
            self.note("intent", intent.group, text)

    async def _intend(self, request: Request) -> Sequence[str]:
        wanted = request.intents(time.time())
        fresh = self.wishes.form(wanted)
        left = [intent.group for intent in wanted if intent.key not in fresh]
        notes = [f"{group} stays as it is: release it first" for group in left]
        if not request.force:
            names = guarded(fresh.values(), self.levels())
            notes += refuse_last(await self.others(names) if names else {})
        imposed = request.kind in (IntentKind.WITHDRAWN, IntentKind.PAUSED)
        if imposed:
            self.wishes.impose(fresh)  # these wait for no disk
        if request.kind is IntentKind.WITHDRAWN:
            # Whether it seems withdrawn or not, and before anything else is known of the node.
            self.give({intent.group: Level.WITHDRAWN for intent in fresh.values()})
        if imposed:
            self._note_all(fresh.values())
        try:
            await self.wishes.save(fresh)
            if not imposed:  # what the disk refuses never came to be
                self._note_all(fresh.values())
        except StateError as error:
            if not imposed:
                raise
            raise StateError(f"it holds, but only while this control lives: {error}") from None
        finally:
            self.decide()
        return notes + await self._tell_filters()

    def _note_all(self, intents: Iterable[Intent]) -> None:
        for intent in intents:
            self.note("intent", intent.group, words(intent))

    async def _release(self, request: Request) -> Sequence[str]:
        """Let checks and regions decide again."""
        await self.look()  # what the command has stored may not have been seen yet
        keys = request.released(self.wishes.present)
        gone: list[Intent] = await self.wishes.forget(keys)
        for intent in gone:
            by = request.author or "the operator"
            self.note("intent", intent.group, f"{intent.kind} ended by {by}")
        if request.force:
            self.waive(request.groups)
        self.decide()
        nothing = [] if gone or request.force else [self._nothing(request)]
        return nothing + await self._tell_filters()

    def _nothing(self, request: Request) -> str:
        """Why a release ended nothing."""
        if request.only is IntentKind.PAUSED:
            return "there was no pause"
        if any(intent.kind is not IntentKind.PAUSED for intent in self.wishes.of(NODE)):
            return "it is wanted of the node as a whole: edgenode release --all ends that"
        return "there was nothing to release"

    async def _tell_filters(self) -> list[str]:
        problem = await self.degrade_towards()
        return [f"BIRD has not taken it yet, and will be told again: {problem}"] if problem else []
