"""HTTP probe: one GET, and the status decides.

A raw socket and a few lines instead of an HTTP client: no pool, no redirects, no names to resolve,
every read bounded, and the way the socket ends in our hands.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Collection

from edgenode.config import ProbeUrl
from edgenode.health import sockets
from edgenode.health.http_head import LIMIT, parse_status
from edgenode.health.observation import Observation, ProbeFailedError, observe

BODY_LIMIT = 64 * 1024
"""Bytes of a body that are read, so that a usual health page is not cut off while it is sent."""


class HttpProbe:
    """GET of `url`; up where the status is one of `statuses`. `timeout` in seconds."""

    def __init__(
        self, url: ProbeUrl, host: str | None, statuses: Collection[int], timeout: float
    ) -> None:
        self._what = f"GET {url}"
        self._target = url.endpoint
        self._statuses = frozenset(statuses)
        self._timeout = timeout
        self._request = (
            f"GET {url.target} HTTP/1.1\r\n"
            f"Host: {host or url.endpoint}\r\n"
            "User-Agent: edgenode\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        ).encode("ascii")

    async def __call__(self) -> Observation:
        """Probe once. Raises OSError where this process is at fault."""
        with sockets.open_tcp(self._target) as sock:
            observation = await observe(self._attempt(sock), self._timeout, self._what)
            if observation.ok:
                await _drain(sock, self._timeout - observation.duration)
            return observation

    async def _attempt(self, sock: socket.socket) -> str:
        await sockets.connect(sock, self._target)
        try:
            await asyncio.get_running_loop().sock_sendall(sock, self._request)
            status = await self._read_status(sock)
        except OSError as error:
            if error.errno in sockets.OWN_FAULT:
                raise
            # The target may have given up on us because we were slow: hence `timed`.
            raise ProbeFailedError(f"{self._what}: {error.strerror}", timed=True) from None
        except ValueError as error:
            raise ProbeFailedError(f"{self._what}: {error}") from None
        text = f"{self._what}: status {status}"
        if status not in self._statuses:
            raise ProbeFailedError(text)
        return text

    async def _read_status(self, sock: socket.socket) -> int:
        loop = asyncio.get_running_loop()
        data = b""
        while (status := parse_status(data)) is None:
            chunk = await loop.sock_recv(sock, LIMIT)
            if not chunk:
                reason = f"{self._what}: connection closed before the head of the answer was there"
                raise ProbeFailedError(reason, timed=True)
            data += chunk
        return status


async def _drain(sock: socket.socket, patience: float) -> None:
    """Read the body to its end, within bounds; whatever comes of it, the status has decided.

    Without this our RST would cut off answers that are still being sent, and the proxy would log
    each probe as a client that went away. With `Connection: close` the body ends with EOF.
    """
    loop = asyncio.get_running_loop()
    seen = 0
    with contextlib.suppress(OSError):  # TimeoutError is one
        async with asyncio.timeout(patience):
            while seen < BODY_LIMIT and (chunk := await loop.sock_recv(sock, LIMIT)):
                seen += len(chunk)
