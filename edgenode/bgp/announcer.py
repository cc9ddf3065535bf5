"""Brings the wanted levels in force in BIRD, and keeps them there over restarts of BIRD.

Withdrawing is one write on an open socket: `Announcer.submit_levels` writes before it waits for
anything. What it wants is kept, so a BIRD that comes back (everything disabled) gets it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import replace

from edgenode.bgp.birdfiles import BirdFiles, read_includes, read_passwords
from edgenode.bgp.client import BirdClient, BirdError, BirdUnavailable, Version, check
from edgenode.bgp.files import FileError
from edgenode.bgp.filters import Towards
from edgenode.bgp.levels import CAUTION, Level, steps
from edgenode.bgp.names import static_pattern
from edgenode.bgp.offline import explain
from edgenode.bgp.protocols import Protocol, level_in_force, parse_protocols
from edgenode.bgp.render import FINGERPRINT
from edgenode.bgp.replies import Reply
from edgenode.bgp.standing import Status, disagreeing, stand
from edgenode.config import Config, Group

log = logging.getLogger(__name__)

RECHECK = 5.0
"""Seconds until BIRD is tried again after it refused something."""

LOOK, LOOKS = 0.05, 40
"""Seconds between two looks whether the `configure` before is done, and how many there are."""


class NotOurConfiguration(Exception):
    """BIRD took `configure`, and still does not run with our text."""


def backoff(attempt: int) -> float:
    """Seconds until the next try to connect to BIRD: 50 ms, each time twice as long, up to 1 s."""
    return float(min(1.0, 0.05 * 2 ** min(attempt, 10)))


class Announcer:
    """One per node. Until a group has been given a level, it is left as BIRD has it."""

    def __init__(
        self,
        config: Config,
        client: BirdClient,
        *,
        passwords: Mapping[str, str] | None = None,
        towards: Iterable[tuple[str, str]] = (),
        files: BirdFiles | None = None,
    ) -> None:
        """`passwords` absent: read from their files; `towards`: see `degrade_towards`; `files`: of
        this configuration, else they are made.

        Raises SecretError, and FileError where a file of `bgp.include` cannot be used.
        """
        self.client = client
        self.problem = ""
        self.settled = asyncio.Event()
        """Set once BIRD was brought to this configuration, with all levels as wanted."""
        self._config = config
        self._groups = {group.name: group for group in config.groups}
        self._towards: Towards = frozenset(towards)
        self._files = files or BirdFiles(
            config,
            read_passwords(config) if passwords is None else dict(passwords),
            read_includes(config),
            self._towards,
        )
        self._wanted: dict[str, Level] = {}
        self._standing: tuple[tuple[Config, Reply | None, dict[str, Level]], Status] | None = None
        """What was last seen and wanted, and what it comes to."""
        self._again = asyncio.Event()
        self._configuring = asyncio.Lock()
        self._over = False
        """Whether another one has come after this one."""

    @property
    def wanted(self) -> dict[str, Level]:
        """The levels given so far, by group."""
        return dict(self._wanted)

    async def run(self) -> None:
        """Keep connected to BIRD and bring it to the wanted levels after each connect, for ever."""
        attempt = 0
        while True:
            try:
                if not self.client.connected:  # else the announcer before us left it open
                    await self.client.connect()
                attempt = 0
                await self._stay()
            except (BirdUnavailable, BirdError) as error:
                self._complain(str(error))
            await asyncio.sleep(backoff(attempt))
            attempt += 1

    def submit_levels(self, levels: Mapping[str, Level]) -> Awaitable[bool]:
        """Give groups their levels: written to BIRD before this returns.

        What it returns is True once BIRD has confirmed. False: BIRD is away or refused (`problem`
        says why); what is wanted is kept, and is brought in force when BIRD is back. Raises
        KeyError for an unknown group.
        """
        commands = _in_order((self._groups[name], level) for name, level in levels.items())
        self._wanted.update(levels)
        try:
            replies = self.client.submit(commands, urgent=Level.WITHDRAWN in levels.values())
        except BirdUnavailable as error:
            self._complain(str(error))
            return _false()
        return self._confirmed(commands, replies)

    async def _confirmed(
        self, commands: Sequence[str], replies: Sequence[asyncio.Future[Reply]]
    ) -> bool:
        try:
            for command, reply in zip(commands, await asyncio.gather(*replies), strict=True):
                check(command, reply, self.client.socket)
        except BirdUnavailable as error:
            self._complain(str(error))
            return False
        except BirdError as error:
            self._complain(str(error))
            self._again.set()
            return False
        return True

    def look_again(self) -> None:
        """Bring BIRD to the wanted levels anew: somebody else has told it something."""
        self._again.set()

    @property
    def passwords(self) -> Mapping[str, str]:
        """By neighbor."""
        return self._files.passwords

    @property
    def includes(self) -> Sequence[str]:
        """The texts of `bgp.include`."""
        return self._files.includes

    def succeed(self, before: Announcer, levels: Mapping[str, Level]) -> None:
        """Go on from the announcer of another configuration, which gave these levels.

        No command is given: to bring BIRD to all of it is for `run`. The one before, which may be
        in the middle of a `configure` still, ends it first, and begins no other.
        """
        self._wanted = dict(levels)
        self._towards = before._towards
        self._configuring = before._configuring
        before._over, self._over = True, False
        self.settled.clear()  # of one that is gone back to, it told of the time before

    async def examine(self, other: Announcer) -> None:
        """Have BIRD parse what another announcer would give it; it goes on as it is.

        Raises BirdError (in the words of the operator's files), BirdUnavailable, FileError.
        """
        async with self._configuring:
            await other._have_checked(other._files, {})

    async def adopt(self) -> dict[str, Level]:
        """Take the levels that are in force in BIRD as wanted, where none was given yet.

        For a control that was restarted within the lifeline's grace. Raises BirdUnavailable,
        BirdError.
        """
        rows = await self._protocols()
        found = {name: level_in_force(group, rows) for name, group in self._groups.items()}
        self._wanted = found | self._wanted
        return found

    async def status(self) -> Status:
        """What BIRD says now; without BIRD, what is known."""
        reply: Reply | None = None
        if self.client.connected:
            try:
                reply = await self.client.ask("show protocols")
            except (BirdUnavailable, BirdError) as error:
                self._complain(str(error))
        seen = (self._config, reply, self._wanted)
        if self._standing is None or self._standing[0] != seen:
            # It is asked each second: thousands of rows are only read when one has changed.
            wanted = self.wanted
            self._standing = ((self._config, reply, wanted), stand(self._config, wanted, reply))
        version = self.client.version
        return replace(
            self._standing[1],
            version=".".join(map(str, version)) if version else "",
            problem=self.problem,
        )

    @property
    def towards(self) -> Towards:
        """The pairs of group and neighbor that are degraded there alone, as last wanted."""
        return self._towards

    async def degrade_towards(self, pairs: Iterable[tuple[str, str]]) -> bool:
        """Have groups degraded towards single neighbors: just these (group, neighbor).

        A group that is announced as normal then looks degraded to that neighbor. It is part of
        that neighbor's filter, so BIRD is reconfigured, with the levels as they are. True once BIRD
        runs so. False: BIRD is away or refused (`problem` says why); what is wanted is kept, and is
        brought in when BIRD is back. Pairs that are not configured are of no effect.
        """
        self._towards = frozenset(pairs)
        try:
            await self.configure_running()
        except (BirdUnavailable, BirdError, FileError, NotOurConfiguration) as error:
            self._complain(str(error))
            self._again.set()
            return False
        return True

    def write_config(self, version: Version | None = None) -> None:
        """Keep the files that BIRD starts with: every group disabled. Raises FileError.

        `version`: BIRD's, for one that was not connected to yet.
        """
        self._files.write({}, self.client.version or version)

    async def configure_running(self) -> bool:
        """Bring our configuration into a BIRD that runs with another text; False: it had ours.

        BIRD parses it first, from files of their own: what it refuses changes nothing.
        `configure` puts each protocol back to what the file says, so the file has the present
        levels in it for that moment. Raises BirdError, BirdUnavailable, FileError,
        NotOurConfiguration.
        """
        async with self._configuring:
            files = await self._present_files()
            if self._over or await self._runs(files):
                return False
            rows = await self._protocols()
            found = {name: level_in_force(group, rows) for name, group in self._groups.items()}
            await self._have_checked(files, found | self._wanted)
            await self._until_idle()
            if self._over:
                return False  # what the other one has withdrawn meanwhile is not in our text
            try:
                # No await between the text and the command: a level that is given later has its
                # own commands behind `configure`, one that was given earlier is in the text.
                # So nothing here waits for the disk, or a withdraw would.
                files.write(found | self._wanted, self.client.version, lasting=False)
                (future,) = self.client.submit(["configure"])
                check("configure", await future, self.client.socket)
            finally:
                files.write({}, self.client.version, lasting=False)
            await asyncio.to_thread(files.sync)
            if not await self._runs(files):
                raise NotOurConfiguration(
                    f"BIRD was reconfigured and does not use {self._config.bgp.config}: "
                    "start it with that file (bird -c), or set bgp.config to the one it reads"
                )
            log.info("BIRD runs with the new configuration")
            return True

    async def _until_idle(self) -> None:
        """Wait for the end of a reconfiguration under way: as long as a session that left is being
        closed. BIRD would queue the next text, and bring it in force with the levels of *now* after
        the commands that follow it: a group withdrawn meanwhile would be back. Raises BirdError.
        """
        for _ in range(LOOKS):
            if "Reconfiguration in progress" not in (await self.client.ask("show status")).text:
                return
            await asyncio.sleep(LOOK)
        raise BirdError("configure", 5, "the one before is not in force yet: it is tried again")

    async def _present_files(self) -> BirdFiles:
        """With what is wanted now of `degrade_towards`; under the lock."""
        if self._files.towards != self._towards:
            # Its fingerprint takes long enough to be in a withdraw's way.
            self._files = await asyncio.to_thread(self._files.degraded, self._towards)
        return self._files

    async def _have_checked(self, files: BirdFiles, levels: Mapping[str, Level]) -> None:
        """Have BIRD parse it. Raises BirdError, in the words of the operator's files."""
        candidate = files.candidate
        try:
            files.write(levels, self.client.version, candidate, lasting=False)
            await self.client.ask(f'configure check "{candidate}"')
        except BirdError as error:
            text = explain(error.text, self._config, candidate)
            raise BirdError("configure check", error.code, text) from None
        finally:
            files.remove_candidate()

    async def reconcile(self) -> None:
        """Bring BIRD to our configuration and the wanted levels.

        Raises what `configure_running` raises.
        """
        # What is to be withdrawn waits for no file, no disk and no `configure`.
        await self._correct(withdraws_only=True)
        await self.configure_running()
        await self._correct()

    async def _correct(self, *, withdraws_only: bool = False) -> None:
        """Tell BIRD again what it does not do. Raises BirdError, BirdUnavailable."""
        rows = await self._protocols()
        if self._over:
            return  # what was withdrawn since then is not known here
        wanted = self._wanted
        commands = _in_order(
            (self._groups[name], wanted[name])
            for name in self._disagreeing(rows)
            if not withdraws_only or wanted[name] is Level.WITHDRAWN
        )
        if commands:
            await self.client.ask_all(commands)

    async def _stay(self) -> None:
        """Reconcile, again after a refusal, until the connection ends. Raises BirdUnavailable."""
        unmended = ""
        while True:
            self._again.clear()
            try:
                await self.reconcile()
                self.problem = ""
                self.settled.set()
                if not unmended:
                    log.info("BIRD is as wanted (%s)", self.client.socket)
                if (why := await self._mend_files()) and why != unmended:
                    log.warning("%s", why)
                unmended, timeout = why, RECHECK if why else None
            except (BirdError, FileError, NotOurConfiguration) as error:
                self._complain(str(error))
                timeout = RECHECK
            if reason := await self._closed_or_again(timeout):
                raise BirdUnavailable(reason)

    async def _mend_files(self) -> str:
        """They may have been edited, removed, or left with levels in them (by a control that died,
        or a full disk): a BIRD that starts would announce by itself.

        What BIRD does now does not hang on them: why they cannot be written is no `problem`.
        """
        async with self._configuring:
            try:
                files = await self._present_files()
                if not self._over:
                    files.remove_candidate()
                    self.write_config()
            except FileError as error:
                return str(error)
        return ""

    async def _closed_or_again(self, timeout: float | None) -> str:
        """The reason of the connection's end, or nothing if it is time to look again."""
        closed = asyncio.ensure_future(self.client.wait_closed())
        again = asyncio.ensure_future(self._again.wait())
        try:
            await asyncio.wait((closed, again), timeout=timeout, return_when="FIRST_COMPLETED")
            return closed.result() if closed.done() else ""
        finally:
            # Not waited for: a cancellation of ours that came meanwhile would be taken for theirs.
            closed.cancel()
            again.cancel()

    async def _protocols(self) -> dict[str, Protocol]:
        return parse_protocols(await self.client.ask("show protocols"))

    async def _runs(self, files: BirdFiles) -> bool:
        (future,) = self.client.submit([f"eval {FINGERPRINT}"])
        reply = await future
        return not reply.failed and reply.text.strip() == files.fingerprint

    def _disagreeing(self, rows: Mapping[str, Protocol]) -> list[str]:
        return disagreeing(self._groups, self._wanted, rows)

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem


async def _false() -> bool:
    return False


def _in_order(levels: Iterable[tuple[Group, Level]]) -> list[str]:
    """The commands that bring groups to levels.

    The most cautious first: a withdraw does not wait behind announcements. And of one level each
    step for all groups before the next: with the first most of them are gone.
    """
    by_level: dict[Level, list[str]] = {}
    for group, level in levels:
        by_level.setdefault(level, []).append(group.name)
    return [
        f"{verb} {static_pattern(name, each)}"
        for level in sorted(by_level, key=CAUTION.index)
        for verb, each in steps(level)
        for name in by_level[level]
    ]
