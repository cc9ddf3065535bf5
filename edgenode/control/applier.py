"""Another configuration for a running control, on trial or not: one `Control` after the other.

Control owns the timer of a trial. To undo is to go back to the configuration of before with what
is known *now*: a group that was withdrawn meanwhile, by a check or an operator, stays withdrawn.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgenode.api.configuration import ApplyError
from edgenode.api.server import AddressInUse
from edgenode.bgp.announcer import Announcer
from edgenode.bgp.birdfiles import standing
from edgenode.bgp.client import BirdError, BirdUnavailable
from edgenode.bgp.files import FileError
from edgenode.bgp.kernel import KernelError, prepare
from edgenode.config import Config, ConfigError, loads
from edgenode.config.difference import difference, elsewhere, needs_restart
from edgenode.config.load import read
from edgenode.config.secrets import SecretError
from edgenode.control.control import Control
from edgenode.control.parts import Parts, again_and_again
from edgenode.control.texts import Chosen, Texts, digest, refusal
from edgenode.control.trial import Trial
from edgenode.regularfile import IN_TIME
from edgenode.state import StateError
from edgenode.steering.table import Table

log = logging.getLogger(__name__)

T = TypeVar("T")

PROVEN = 10.0
"""Seconds of decisions after which a text that was not on trial, and that BIRD has taken, has
proved itself."""
PROOF = PROVEN + 2.0
"""Seconds that a trial waits until what it would be undone to has done so."""
LOOK = 0.25
TAKEN = 3.0
"""Seconds that BIRD is given to take it up, before whoever asked is told that it has not yet."""
ENDING = 0.5
"""Seconds that what ran before may take to end: no heart beats meanwhile."""

ON_TRIAL = "it was on trial when control ended"
UNPROVEN = f"control ended before it had worked with it for {PROVEN:g} s"


@dataclass(frozen=True)
class Running:
    """What a `Control` runs with: enough to go back to it."""

    text: str
    config: Config
    announcer: Announcer
    """With the passwords and includes as they were read."""


class Applier:
    """Runs control, whatever its configuration is."""

    def __init__(
        self,
        path: Path,
        chosen: Chosen,
        texts: Texts,
        parts: Parts,
        last_table: Table | None,
        serve_metrics: Callable[[Config], Awaitable[None]],
    ) -> None:
        """`serve_metrics`: have metrics served as a configuration says; raises AddressInUse.

        Raises SecretError, FileError.
        """
        self._path = path
        self._texts = texts
        self._parts = parts
        self._serve_metrics = serve_metrics
        self._problem = chosen.problem
        announcer = _announcer(chosen, parts)
        self._running = Running(chosen.text, chosen.config, announcer)
        self._trial: tuple[Trial, Running] | None = None
        self._proven_at: float | None = None
        self._untrusted = ""
        """Why what has proved itself could not be stored as such, said once."""
        self._turn = asyncio.Lock()
        self._reader = ThreadPoolExecutor(1, "configuration")
        """Its own: a file system that hangs must not take the threads that store intents."""
        self.control = Control(chosen.config, parts, announcer=announcer, last_table=last_table)
        self.control.configuration = self.status
        if not chosen.problem and texts.confirmed() != chosen.text:
            self._prove_later()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._parts.run(), name="parts")
            self._tasks.create_task(again_and_again("applying", self._watch), name="applying")
            self._task = self._tasks.create_task(self.control.run(), name="control")
            if self._problem:
                self._say(self._problem)

    def end(self) -> None:
        """Control ends because it was told to: that says nothing against its configuration."""
        if self._trial is None:
            try:
                self._texts.believe(self._running.text)
            except StateError as error:
                log.warning("%s", error)

    def status(self) -> dict[str, Any]:
        """For `status`: which text is in force."""
        left = self._trial[0].until - time.monotonic() if self._trial else None
        return {
            "file": str(self._path),
            "on_trial": self._trial is not None,
            "confirm_within_s": None if left is None else round(max(0.0, left), 1),
            "problem": self._problem,
        }

    # -- what operators ask for ---------------------------------------------------------------

    async def reload(self) -> None:
        """SIGHUP: nobody waits for an answer, so it goes to the log and to `status`."""
        try:
            await self.apply()
        except Exception as error:
            if not isinstance(error, ApplyError):
                log.exception("a fault of ours")
            self._problem = f"the new configuration was not applied: {error}"
            log.error("%s", self._problem)

    async def apply(
        self, expected: str | None = None, confirm: float | None = None, dry_run: bool = False
    ) -> dict[str, Any]:
        """Run with what the file says now; all is checked before anything is touched.

        `expected`: the digest of the text that is meant. `confirm`: seconds of a trial; None: it
        is none. Raises ApplyError.
        """
        if self._turn.locked():
            raise ApplyError("another configuration is just being applied: wait for it")
        # Whoever asked may go away in the middle: then it is done all the same, in its turn.
        task = asyncio.ensure_future(self._apply_in_turn(expected, confirm, dry_run))
        return await asyncio.shield(task)

    async def _apply_in_turn(
        self, expected: str | None, confirm: float | None, dry_run: bool
    ) -> dict[str, Any]:
        async with self._turn:
            if self._trial and not dry_run:
                raise ApplyError("a configuration is on trial: `edgenode confirm` or `undo` first")
            wanted, changes, notes = await self._examine(expected)
            if dry_run:
                pass
            elif wanted.text == self._running.text and not changes:
                self._problem, confirm = "", None
            else:
                if confirm is not None:
                    await self._wait_for_proof()
                await self._apply(wanted, changes, confirm)
                if why := await self._not_taken(wanted.announcer):
                    notes.append(f"BIRD has not taken it yet, and will be told again: {why}")
        return {
            "difference": changes,
            "notes": notes,
            "applied": not dry_run,
            "confirm_within_s": None if dry_run else confirm,
        }

    async def confirm(self) -> None:
        """Keep what is on trial, and what BIRD runs with. Raises ApplyError."""
        async with self._turn:
            if self._trial is None:
                raise ApplyError("no configuration is on trial" + self._because())
            if why := await self._not_taken(self._running.announcer):
                raise ApplyError(
                    f"it stays on trial, for BIRD has not taken it yet ({why}): "
                    "confirm it when it has, or say `edgenode undo`"
                )
            try:
                await asyncio.to_thread(self._texts.trust, self._running.text)
            except StateError as error:
                raise ApplyError(f"it stays on trial: {error}") from None
            self._trial, self._problem = None, ""
        self._say(f"{self._path} was confirmed")

    async def undo(self, why: str) -> None:
        """Back to the configuration of before, now. Raises ApplyError where there is no trial."""
        await asyncio.shield(asyncio.ensure_future(self._undo_in_turn(why)))

    async def _undo_in_turn(self, why: str) -> None:
        async with self._turn:
            if self._trial is None:
                raise ApplyError("no configuration is on trial" + self._because())
            await self._undo(*self._trial, why)

    def _because(self) -> str:
        return f": {self._problem}" if self._problem else ""

    # -- how it is done -----------------------------------------------------------------------

    async def _examine(self, expected: str | None) -> tuple[Running, list[str], list[str]]:
        """What the file says, and what it changes. Touches nothing. Raises ApplyError."""
        now = self._running
        try:
            async with asyncio.timeout(IN_TIME):
                text = await self._reading(read, self._path)
                if expected is not None and digest(text) != expected:
                    raise ApplyError(f"control reads {self._path}, and that has another text")
                config = await self._reading(loads, text, self._path)
                if fixed := needs_restart(now.config, config):
                    raise ApplyError("; ".join(fixed))
                announcer = await self._reading(Announcer, config, self._parts.bird)
            await now.announcer.examine(announcer)
        except TimeoutError:
            raise ApplyError(
                f"{self._path}, and the files that it names, could not be read within "
                f"{IN_TIME:g} s: see whether their file systems are there"
            ) from None
        except ConfigError as error:
            raise ApplyError("; ".join(error.lines())) from None
        except (SecretError, BirdError, BirdUnavailable, FileError) as error:
            raise ApplyError(str(error)) from None
        changes = difference(now.config, config)
        changes += [
            f"~ bgp.neighbors[{name}]: its password is another one"
            for name, password in announcer.passwords.items()
            if now.announcer.passwords.get(name, password) != password
        ]
        if announcer.includes != now.announcer.includes:
            changes.append("~ bgp.include: the text of the files")
        return Running(text, config, announcer), changes, elsewhere(now.config, config)

    async def _reading(self, what: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, what, *arguments)

    async def _wait_for_proof(self) -> None:
        """Until what runs is what a start would run, should control end in the middle of a trial.

        Raises ApplyError.
        """
        deadline = time.monotonic() + PROOF
        while self._proven_at is not None:
            if time.monotonic() >= deadline:
                why = self._untrusted or "BIRD has not taken it, or control does not decide"
                raise ApplyError(
                    "what runs now has not proved itself, and a trial is undone to what has "
                    f"({why}): mend that, or apply without --confirm"
                )
            await asyncio.sleep(LOOK)

    async def _apply(self, wanted: Running, changes: Sequence[str], confirm: float | None) -> None:
        before = self._running
        why = UNPROVEN if confirm is None else ON_TRIAL
        try:
            # Addresses and blackholes stand before anything is announced.
            for group in wanted.config.groups:
                await asyncio.to_thread(prepare, group)
            await self._serve_metrics(wanted.config)
            if self._texts.confirmed() != wanted.text:
                await asyncio.to_thread(self._texts.suspect, wanted.text, why)
        except (KernelError, StateError, AddressInUse) as error:
            with suppress(AddressInUse):
                await self._serve_metrics(before.config)
            raise ApplyError(str(error)) from None
        sessions = self.control.established() & {n.name for n in wanted.config.bgp.neighbors}
        await self._swap(wanted)
        self._problem = ""
        if confirm is not None:
            self._trial = (Trial(time.monotonic(), confirm, sessions), before)
            self._say(f"{self._path} is on trial for {confirm:g} s")
        else:
            if self._texts.confirmed() != wanted.text:
                self._prove_later()
            self._say(f"{self._path} was applied, {len(changes)} changes")

    async def _not_taken(self, announcer: Announcer) -> str:
        """Why BIRD, which has parsed it, does not run with it; empty: it does."""
        with suppress(TimeoutError):
            await asyncio.wait_for(announcer.settled.wait(), TAKEN)
        if announcer.settled.is_set():
            return ""
        return announcer.problem or f"it has not answered within {TAKEN:g} s"

    async def _undo(self, _: Trial, before: Running, why: str) -> None:
        failed = self._running.text
        await self._swap(before)
        self._trial = None  # not sooner: what goes wrong before that is tried again
        try:
            await self._serve_metrics(before.config)
        except (AddressInUse, OSError) as error:
            log.error("metrics are not served as before: %s", error)
        self._problem = refusal(self._path, f"it was undone, since {why}")
        self._say(self._problem)
        if self._texts.confirmed() != before.text:
            self._prove_later()
        if failed == before.text:  # files that it names had changed
            return
        try:
            await asyncio.to_thread(self._texts.suspect, failed, f"it was undone, since {why}")
        except StateError as error:  # that it was on trial is stored, with the same effect
            log.error("%s", error)

    async def _swap(self, wanted: Running) -> None:
        """From here on `wanted` runs; connections, states and levels go on."""
        self.control = Control(
            wanted.config, self._parts, announcer=wanted.announcer, before=self.control
        )
        self.control.configuration = self.status
        self._running = wanted
        self._proven_at = None
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=ENDING)
        self._task = self._tasks.create_task(self.control.run(), name="control")

    def _works(self) -> bool:
        return self.control.decides() and self._running.announcer.settled.is_set()

    def _prove_later(self) -> None:
        self._proven_at = time.monotonic() + PROVEN

    async def _watch(self) -> None:
        """Undo a trial that has failed; trust what has worked for a while."""
        while True:
            await asyncio.sleep(LOOK)
            now = time.monotonic()
            if self._trial:
                if why := self._trial[0].failed(now, self.control.established()):
                    # In its turn, behind a dry run or a confirmation: dry runs without end must
                    # not keep a trial alive.
                    with suppress(ApplyError):  # it was confirmed, or undone, just before
                        await self.undo(why)
            elif (due := self._proven_at) and now >= due and self._works():
                try:
                    await asyncio.to_thread(self._texts.trust, self._running.text)
                    self._untrusted = ""
                    if self._proven_at == due:  # else another text has come meanwhile
                        self._proven_at = None
                except StateError as error:
                    if str(error) != self._untrusted:
                        log.warning("the configuration is not confirmed yet: %s", error)
                    self._untrusted = str(error)
                    self._prove_later()

    def _say(self, text: str) -> None:
        self._parts.note("configuration", self._running.config.node.name, text)


def _announcer(chosen: Chosen, parts: Parts) -> Announcer:
    """Of the text that a start runs. Raises SecretError, FileError."""
    towards = parts.wishes.towards
    try:
        return Announcer(chosen.config, parts.bird, towards=towards)
    except (SecretError, FileError) as error:
        files = standing(chosen.config, towards)
        if files is None:
            raise
        log.error("%s: BIRD goes on with what it was given before", error)
        return Announcer(chosen.config, parts.bird, towards=towards, files=files)
