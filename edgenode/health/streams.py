"""What goes out and comes in on a connected socket, whether in TLS or not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable
from typing import Protocol

from edgenode.health.observation import ProbeFailedError

CHUNK = 16 * 1024

REST = 64 * 1024
"""Bytes that are read after the verdict, so that a usual health page is not cut off."""

GOODBYE = 0.2
"""Seconds that a target gets to end once the verdict is certain: one that meets our RST instead may
log each probe as a client that went away."""


class Stream(Protocol):
    """What a request goes out on and its answer comes in."""

    async def send(self, data: bytes) -> None:
        """Raises OSError, ProbeFailedError."""

    async def receive(self, size: int) -> bytes:
        """Nothing at the end. Raises OSError, ProbeFailedError."""


class PlainStream:
    """A connected socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def send(self, data: bytes) -> None:
        """Raises OSError."""
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def receive(self, size: int) -> bytes:
        """Nothing at the end. Raises OSError."""
        await asyncio.sleep(0)  # what is there already is read without a turn for anybody else
        return await asyncio.get_running_loop().sock_recv(self._sock, size)


async def drain(stream: Stream) -> None:
    """Read until the target closes. Raises OSError, ProbeFailedError."""
    seen = 0
    while seen < REST and (chunk := await stream.receive(CHUNK)):
        seen += len(chunk)


async def part(goodbye: Awaitable[None], left: float) -> None:
    """The end after a verdict that stands whatever comes of it; `left`: seconds of the timeout."""
    with contextlib.suppress(OSError, ProbeFailedError):  # TimeoutError is an OSError
        async with asyncio.timeout(min(GOODBYE, left)):
            await goodbye
