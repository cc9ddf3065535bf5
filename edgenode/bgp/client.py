"""An asyncio client of BIRD's control socket: one connection, held open.

Why our own: ``pybird`` 1.2.0 and ``birdclient`` 0.0.1 open a socket for each query, have no
asyncio, and end a reply on a fixed list of codes: a ``configure check`` that fails (8002) blocks
``birdclient`` for ever, a restricted socket (8007) blocks both. Here a reply ends where the
protocol says (`replies`), commands go out at once on an open connection, and replies are matched
to them in order.

**Commands may not pile up in BIRD's socket.** BIRD reads into a buffer of 1024 bytes, which it
starts to fill anew only when it has carried out all that is in it; when the buffer is full, the
next read (of zero bytes) looks like the end of the connection, and BIRD closes it (``cli_connect``
and ``cli_get_command`` in ``sysdep/unix/main.c``, ``sk_read`` in ``io.c``; seen with 2.0.12). So
commands go out in bursts of at most `BURST` bytes, and the next one waits until all are answered.
"""

from __future__ import annotations

import asyncio
import logging
import re
import select
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgenode.bgp.replies import Notice, ProtocolError, Reply, ReplyParser

log = logging.getLogger(__name__)

BURST = 480
"""Bytes of commands: less than half of BIRD's buffer, since a burst may come before BIRD, which
has just answered the one before, has begun a new buffer."""

GIVE_WAY = 0.0002
"""Seconds for which we sleep when BIRD was told something urgent. The kernel likes to wake BIRD on
our own core, where it would wait behind all that we do next, and behind our threads that this
wakes: 0.2 to 1 ms, where BIRD's work takes 0.12."""

OLDEST = (2, 0, 12)
"""Debian 12's; what comes before has not been tried."""
NEWEST_MAJOR = 3

_GREETING = re.compile(r"BIRD v?(\d+)\.(\d+)(?:\.(\d+))?\S* ready\.?")
_RESTRICTED = (16, 8007)

Version = tuple[int, int, int]


class BirdError(Exception):
    """BIRD refused a command (a reply with a code of 8000 and above)."""

    def __init__(self, command: str, code: int, text: str) -> None:
        self.command = command
        self.code = code
        self.text = text
        super().__init__(command, code, text)

    def __str__(self) -> str:
        return f'BIRD refused "{self.command}": {self.text} ({self.code:04d})'


class BirdUnavailable(Exception):
    """There is no BIRD to speak to, or it is of no use; the text says what to do."""


class BirdRestricted(BirdUnavailable):
    """The socket only lets us look."""


class BirdUnsupported(BirdUnavailable):
    """A version that this program does not know."""


class BirdClient:
    """Commands to BIRD over one connection, answered in their order.

    `timeout` is the seconds that BIRD may take for one reply: then it counts as hung and the
    connection is given up, since a reply that comes late could not be told from the next one.
    """

    def __init__(self, socket: Path, *, timeout: float = 5.0) -> None:
        self.socket = socket
        self.timeout = timeout
        self.version: Version | None = None
        """Of the BIRD that is, or last was, at the other end."""
        self._link: _Link | None = None

    @property
    def connected(self) -> bool:
        """Whether commands can be sent."""
        return self._link is not None and self._link.open

    async def connect(self) -> Version:
        """Connect anew and see that BIRD is of use. Raises BirdUnavailable, BirdError."""
        await self.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.timeout):
                _, link = await loop.create_unix_connection(
                    lambda: _Link(str(self.socket), self.timeout), str(self.socket)
                )
        except TimeoutError:
            raise BirdUnavailable(_hung(str(self.socket), self.timeout)) from None
        except OSError as error:
            raise BirdUnavailable(_cannot_connect(self.socket, error)) from None
        try:
            version = parse_version(await link.greeting)
            self.version = version
            # A privileged command that does nothing: refused with 8007 where only looking is
            # allowed, and else with 8003, since no protocol can be called so.
            probe = await link.send('disable "edgenode probe"')
            if probe.code in _RESTRICTED:
                raise BirdRestricted(_restricted(self.socket))
        except BaseException:
            link.abort("given up while connecting")
            raise
        if self._link is not None and self._link.open:
            link.abort("another one was there first")  # both would answer, and one never end
        else:
            self._link = link
        return version

    def submit(
        self, commands: Iterable[str], *, urgent: bool = False
    ) -> list[asyncio.Future[Reply]]:
        """Write commands at once, in one piece as far as `BURST` allows.

        `urgent`: let a BIRD that was at rest have the core. The futures give replies, failed ones
        too, or BirdUnavailable. Raises BirdUnavailable if there is no connection.
        """
        if self._link is None or not self._link.open:
            raise BirdUnavailable(f"there is no connection to BIRD ({self.socket})")
        at_rest = self._link.at_rest
        futures = self._link.submit(list(commands))
        if urgent and at_rest:
            # Not time.sleep, which asks a clock, and fails where that is a false one (libfaketime).
            select.select((), (), (), GIVE_WAY)
        return futures

    async def ask(self, command: str) -> Reply:
        """The reply to one command. Raises BirdError, BirdUnavailable."""
        (reply,) = await self.ask_all([command])
        return reply

    async def ask_all(self, commands: Sequence[str]) -> list[Reply]:
        """The replies to several, which are sent at once. Raises BirdError, BirdUnavailable.

        All are carried out even if one is refused; the first refusal is raised.
        """
        replies = await asyncio.gather(*self.submit(commands))
        for command, reply in zip(commands, replies, strict=True):
            check(command, reply, self.socket)
        return replies

    async def wait_closed(self) -> str:
        """Wait for the end of the connection; gives the reason."""
        if self._link is None:
            return "never connected"
        return await asyncio.shield(self._link.lost)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._link is not None:
            self._link.abort("closed by us")
            self._link = None


def check(command: str, reply: Reply, socket: Path) -> None:
    """Raises BirdRestricted or BirdError if a reply says that the command failed."""
    if reply.code in _RESTRICTED:
        raise BirdRestricted(_restricted(socket))
    if reply.failed:
        raise BirdError(command, reply.code, reply.lines[-1].text)


def parse_version(greeting: Reply) -> Version:
    """BIRD's version from its greeting. Raises BirdUnsupported, BirdUnavailable."""
    match = _GREETING.fullmatch(greeting.text.strip())
    if greeting.code != 1 or not match:
        raise BirdUnavailable(
            "what answers on BIRD's control socket does not greet like BIRD: "
            f"{greeting.text[:80]!r}"
        )
    version = (int(match[1]), int(match[2]), int(match[3] or 0))
    if version < OLDEST or version[0] > NEWEST_MAJOR:
        raise BirdUnsupported(
            f"BIRD {'.'.join(map(str, version))} is not supported: "
            f"install 2.0.12 or newer, and older than {NEWEST_MAJOR + 1}"
        )
    return version


class _Link(asyncio.Protocol):
    """One connection: commands out, replies back in the same order."""

    def __init__(self, where: str, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = loop.create_future()
        self.greeting: asyncio.Future[Reply] = loop.create_future()
        self._where = where
        self._timeout = timeout
        self._loop = loop
        self._parser = ReplyParser()
        # What BIRD has and has not answered, and what still waits here
        self._waiting: deque[asyncio.Future[Reply]] = deque([self.greeting])
        self._unsent: deque[tuple[bytes, asyncio.Future[Reply]]] = deque()
        self._burst = 0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def open(self) -> bool:
        return self._transport is not None and not self.lost.done()

    @property
    def at_rest(self) -> bool:
        """Whether BIRD has answered all that it was asked."""
        return not self._waiting

    def submit(self, commands: Sequence[str]) -> list[asyncio.Future[Reply]]:
        if self.lost.done():
            raise BirdUnavailable(self.lost.result())
        futures = []
        for command in commands:
            raw = command.encode("ascii") + b"\n"
            if raw.count(b"\n") != 1 or len(raw) > BURST:
                raise ValueError(f"no single command of at most {BURST} bytes: {command[:80]!r}")
            future: asyncio.Future[Reply] = self._loop.create_future()
            self._unsent.append((raw, future))
            futures.append(future)
        self._pump()
        return futures

    async def send(self, command: str) -> Reply:
        (future,) = self.submit([command])
        return await future

    def abort(self, reason: str) -> None:
        """End the connection at once; whoever waits for a reply gets the reason."""
        if self._transport is not None:
            self._transport.abort()
        self._end(reason)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._watch()

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        try:
            while (event := self._parser.next()) is not None:
                if isinstance(event, Notice):
                    log.debug("BIRD: %s", event.text)
                else:
                    self._answer(event)
        except ProtocolError as error:
            self.abort(f"BIRD's control socket {self._where} sent garbage ({error})")
            return
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        middle = " in the middle of a reply" if self._parser.pending else ""
        self._end(f"BIRD closed its control socket {self._where}{middle}")

    def _answer(self, reply: Reply) -> None:
        if not self._waiting:
            raise ProtocolError(f"a reply that nobody asked for: {reply.code:04d}")
        future = self._waiting.popleft()
        if not self._waiting:
            self._burst = 0
        if not future.done():
            future.set_result(reply)
        self._watch()

    def _pump(self) -> None:
        portion = bytearray()
        while self._unsent and self._burst + len(self._unsent[0][0]) <= BURST:
            raw, future = self._unsent.popleft()
            portion += raw
            self._burst += len(raw)
            self._waiting.append(future)
        if portion and self._transport is not None:
            self._transport.write(bytes(portion))
            if self._timer is None:
                self._watch()

    def _watch(self) -> None:
        """Give the oldest unanswered command its time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and not self.lost.done():
            self._timer = self._loop.call_later(
                self._timeout, self.abort, _hung(self._where, self._timeout)
            )

    def _end(self, reason: str) -> None:
        if self.lost.done():
            return
        self.lost.set_result(reason)
        self._watch()
        for future in (*self._waiting, *(future for _, future in self._unsent)):
            if not future.done():
                future.set_exception(BirdUnavailable(reason))
                future.exception()  # whoever waits gets it; nobody has to
        self._waiting.clear()
        self._unsent.clear()


def _hung(where: str, timeout: float) -> str:
    return (
        f"BIRD did not answer on {where} within {timeout:g} s: "
        "it hangs or is stopped; look at it, or restart it"
    )


def _restricted(socket: Path) -> str:
    return (
        f"BIRD's control socket {socket} is restricted to looking: "
        'set bgp.socket to one without "restrict"'
    )


def _cannot_connect(socket: Path, error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return f"BIRD's control socket {socket} is not there: start BIRD, or set bgp.socket"
        case ConnectionRefusedError():
            return f"nobody listens on BIRD's control socket {socket}: start BIRD"
        case PermissionError():
            return (
                f"BIRD's control socket {socket} may not be opened by this user: "
                "run as root or as a member of the socket's group"
            )
        case _:
            return f"BIRD's control socket {socket} cannot be reached: {error.strerror or error}"
