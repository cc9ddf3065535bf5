"""What goes out and comes in on a connected socket, whether in TLS or not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Protocol

from edgenode.health.observation import ProbeFailedError

CHUNK = 16 * 1024

REST = 64 * 1024
"""Bytes that are read after the verdict, so that a usual health page is not cut off."""


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
        return await asyncio.get_running_loop().sock_recv(self._sock, size)


async def drain(stream: Stream, patience: float) -> None:
    """Read until the target closes, within bounds; whatever comes of it, the verdict stands.

    Without this our RST would cut off what is still being sent, and the proxy would log each probe
    as a client that went away.
    """
    seen = 0
    with contextlib.suppress(OSError, ProbeFailedError):  # TimeoutError is an OSError
        async with asyncio.timeout(patience):
            while seen < REST and (chunk := await stream.receive(CHUNK)):
                seen += len(chunk)
