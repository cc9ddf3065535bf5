"""Asks the system's resolver, which may hang, for the names of endpoints."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Container
from ipaddress import ip_address

from edgenode.config.values import Address, NamedEndpoint
from edgenode.mesh.names import Names

PATIENCE = 10.0
"""Seconds for one question."""
AT_ONCE = 4
"""Questions; one that hangs takes its place until the resolver gives up."""

LookUp = Callable[[NamedEndpoint], list[Address]]
"""Blocks. Raises OSError."""


def look_up(endpoint: NamedEndpoint) -> list[Address]:
    """A and AAAA, in the order in which this host would try them (RFC 6724). Raises OSError."""
    found = socket.getaddrinfo(endpoint.name, endpoint.port, type=socket.SOCK_DGRAM)
    return [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]


class Resolver:
    """Threads of its own, which nobody waits for: a question cannot be taken back."""

    def __init__(self, names: Names, look_up: LookUp = look_up) -> None:
        self.names = names
        self._look_up = look_up
        self._asking: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(AT_ONCE)

    def ask(self, dead: Container[str], on_answer: Callable[[], None]) -> None:
        """Ask for the names that are due; `on_answer` is called when more is known."""
        for peer, endpoint in self.names.due(time.monotonic(), dead):
            if peer not in self._asking:
                self._asking.add(peer)
                task = asyncio.create_task(self._ask(peer, endpoint, peer in dead, on_answer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def once(self, patience: float) -> None:
        """Ask for all, and wait for the answers, for so many seconds at most."""
        self.ask((), lambda: None)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience)

    async def _ask(
        self, peer: str, endpoint: NamedEndpoint, dead: bool, on_answer: Callable[[], None]
    ) -> None:
        async with self._places:
            asked = asyncio.create_task(self._in_thread(endpoint))
            await asyncio.wait([asked], timeout=PATIENCE)
            if not asked.done():
                self.names.failed(peer, f"no answer within {PATIENCE:g} s", time.monotonic())
                on_answer()
                await asyncio.wait([asked])
            try:
                self.names.answered(peer, asked.result(), time.monotonic(), dead)
            except OSError as error:
                self.names.failed(peer, error.strerror or str(error), time.monotonic())
        self._asking.discard(peer)
        on_answer()

    async def _in_thread(self, endpoint: NamedEndpoint) -> list[Address]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Address]] = loop.create_future()

        def settle(found: list[Address] | OSError) -> None:
            if future.done():
                return
            if isinstance(found, OSError):
                future.set_exception(found)
            else:
                future.set_result(found)

        def run() -> None:
            try:
                found: list[Address] | OSError = self._look_up(endpoint)
            except (OSError, UnicodeError) as error:
                found = error if isinstance(error, OSError) else OSError(str(error))
            try:
                loop.call_soon_threadsafe(settle, found)
            except RuntimeError:
                return  # the loop has ended meanwhile

        threading.Thread(target=run, name=f"resolve {endpoint.name}", daemon=True).start()
        return await future
