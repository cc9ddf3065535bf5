"""Brings the wanted levels in force in BIRD, and keeps them there over restarts of BIRD.

Withdrawing is one write on an open socket: `Announcer.submit_levels` writes before it waits for
anything. What it wants is kept, so a BIRD that comes back (everything disabled) gets it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from edgenode.bgp.client import BirdClient, BirdError, BirdUnavailable, check
from edgenode.bgp.files import BIRD_GROUP, FileError, keep, remove
from edgenode.bgp.levels import Level, steps
from edgenode.bgp.names import static_pattern
from edgenode.bgp.protocols import (
    Protocol,
    Session,
    agrees,
    level_in_force,
    parse_protocols,
    sessions,
)
from edgenode.bgp.render import (
    FINGERPRINT,
    OURS,
    configuration_fingerprint,
    render,
    render_secrets,
    secrets_file,
)
from edgenode.bgp.replies import Reply
from edgenode.config import Config, Group, secrets

log = logging.getLogger(__name__)

RECHECK = 5.0
"""Seconds until BIRD is tried again after it refused something."""


class NotOurConfiguration(Exception):
    """BIRD took `configure`, and still does not run with our text."""


@dataclass(frozen=True)
class Status:
    """What BIRD says, beside what is wanted."""

    connected: bool
    version: str
    """Of BIRD; empty before the first connection."""
    problem: str
    """Why BIRD is not as wanted, as a sentence; empty: all is well."""
    wanted: Mapping[str, Level]
    actual: Mapping[str, Level]
    """By group, of the families that BIRD knows; empty without a connection."""
    in_force: Mapping[str, bool]
    """By group that was given a level: whether BIRD does just that, in each family."""
    sessions: tuple[Session, ...]
    agrees: bool
    """Whether BIRD does exactly what is wanted."""


def backoff(attempt: int) -> float:
    """Seconds until the next try to connect to BIRD: 50 ms, each time twice as long, up to 1 s."""
    return float(min(1.0, 0.05 * 2 ** min(attempt, 10)))


def read_passwords(config: Config) -> dict[str, str]:
    """The neighbors' passwords from their files. Raises `config.secrets.SecretError`."""
    return {
        neighbor.name: secrets.read(neighbor.password_file)
        for neighbor in config.bgp.neighbors
        if neighbor.password_file
    }


class Announcer:
    """One per node. Until a group has been given a level, it is left as BIRD has it."""

    def __init__(
        self,
        config: Config,
        client: BirdClient,
        *,
        passwords: Mapping[str, str] | None = None,
    ) -> None:
        """`passwords` absent: read from their files (`read_passwords`)."""
        self.client = client
        self.problem = ""
        self._config = config
        self._groups = {group.name: group for group in config.groups}
        self._passwords = read_passwords(config) if passwords is None else dict(passwords)
        self._fingerprint = configuration_fingerprint(config, self._passwords)
        self._wanted: dict[str, Level] = {}
        self._again = asyncio.Event()
        self._configuring = asyncio.Lock()

    @property
    def wanted(self) -> dict[str, Level]:
        """The levels given so far, by group."""
        return dict(self._wanted)

    async def run(self) -> None:
        """Keep connected to BIRD and bring it to the wanted levels after each connect, for ever."""
        attempt = 0
        while True:
            try:
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
        # The most cautious first: a withdraw does not wait behind announcements.
        ordered = sorted(levels.items(), key=lambda item: item[1] is not Level.WITHDRAWN)
        commands = [c for name, level in ordered for c in _commands(self._groups[name], level)]
        self._wanted.update(levels)
        try:
            replies = self.client.submit(commands)
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
        rows: dict[str, Protocol] = {}
        connected = self.client.connected
        if connected:
            try:
                rows = await self._protocols()
            except (BirdUnavailable, BirdError) as error:
                self._complain(str(error))
                connected = False
        version = self.client.version
        return Status(
            connected=connected,
            version=".".join(map(str, version)) if version else "",
            problem=self.problem,
            wanted=self.wanted,
            actual={n: level_in_force(g, rows) for n, g in self._groups.items()} if rows else {},
            in_force={
                name: agrees(self._groups[name], level, rows)
                for name, level in self._wanted.items()
                if rows
            },
            sessions=sessions(self._config.bgp.neighbors, rows),
            agrees=connected and not self._disagreeing(rows),
        )

    def write_config(self) -> None:
        """Keep the files that BIRD starts with: every group disabled. Raises FileError."""
        self._write({})

    async def configure_running(self) -> bool:
        """Bring our configuration into a BIRD that runs with another text; False: it had ours.

        `configure` puts each protocol back to what the file says, so the file has the present
        levels in it for that moment. Raises BirdError, BirdUnavailable, FileError,
        NotOurConfiguration.
        """
        async with self._configuring:
            if await self._runs_our_text():
                return False
            rows = await self._protocols()
            found = {name: level_in_force(group, rows) for name, group in self._groups.items()}
            try:
                self._write(found | self._wanted)
                await self.client.ask("configure check")
                # No await between the text and the command: a level that is given later has its
                # own commands behind `configure`, one that was given earlier is in the text.
                self._write(found | self._wanted)
                (future,) = self.client.submit(["configure"])
                check("configure", await future, self.client.socket)
            finally:
                self.write_config()
            if not await self._runs_our_text():
                raise NotOurConfiguration(
                    f"BIRD was reconfigured and does not use {self._config.bgp.config}: "
                    "start it with that file (bird -c), or set bgp.config to the one it reads"
                )
            log.info("BIRD runs with the new configuration")
            return True

    async def reconcile(self) -> None:
        """Bring BIRD to our configuration and the wanted levels.

        Raises what `configure_running` raises.
        """
        await self.configure_running()
        rows = await self._protocols()
        commands = [
            command
            for name in self._disagreeing(rows)
            for command in _commands(self._groups[name], self._wanted[name])
        ]
        if commands:
            await self.client.ask_all(commands)

    async def _stay(self) -> None:
        """Reconcile, again after a refusal, until the connection ends. Raises BirdUnavailable."""
        while True:
            self._again.clear()
            timeout = None
            try:
                await self.reconcile()
                self.problem = ""
                log.info("BIRD is as wanted (%s)", self.client.socket)
                await self._mend_files()
            except (BirdError, FileError, NotOurConfiguration) as error:
                self._complain(str(error))
                timeout = RECHECK
            if reason := await self._closed_or_again(timeout):
                raise BirdUnavailable(reason)

    async def _mend_files(self) -> None:
        """They may have been edited, removed, or left with levels in them by a control that died.

        What BIRD does now does not hang on them: if they cannot be written that is no `problem`.
        """
        async with self._configuring:
            try:
                self.write_config()
            except FileError as error:
                log.warning("%s", error)

    async def _closed_or_again(self, timeout: float | None) -> str:
        """The reason of the connection's end, or nothing if it is time to look again."""
        closed = asyncio.ensure_future(self.client.wait_closed())
        again = asyncio.ensure_future(self._again.wait())
        try:
            await asyncio.wait((closed, again), timeout=timeout, return_when="FIRST_COMPLETED")
            return closed.result() if closed.done() else ""
        finally:
            for task in (closed, again):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _protocols(self) -> dict[str, Protocol]:
        return parse_protocols(await self.client.ask("show protocols"))

    async def _runs_our_text(self) -> bool:
        (future,) = self.client.submit([f"eval {FINGERPRINT}"])
        reply = await future
        return not reply.failed and reply.text.strip() == self._fingerprint

    def _disagreeing(self, rows: Mapping[str, Protocol]) -> list[str]:
        return [
            name
            for name, level in self._wanted.items()
            if not agrees(self._groups[name], level, rows)
        ]

    def _write(self, levels: Mapping[str, Level]) -> None:
        path = self._config.bgp.config
        if self._passwords:
            text = render_secrets(self._config, self._passwords)
            keep(secrets_file(path), text, mode=0o640, group=BIRD_GROUP)
        keep(path, render(self._config, levels, self._fingerprint), mode=0o644)
        if not self._passwords:
            remove(secrets_file(path), OURS)

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem


async def _false() -> bool:
    return False


def _commands(group: Group, level: Level) -> Iterable[str]:
    return (f"{verb} {static_pattern(group.name, each)}" for verb, each in steps(level))
