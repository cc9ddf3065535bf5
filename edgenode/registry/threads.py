"""What may hang on the way to etcd, in threads of its own: reading files, asking for names.

Those in which intents are stored must not fill up with calls that hang.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from aiohttp.abc import AbstractResolver, ResolveResult

T = TypeVar("T")

_THREADS = ThreadPoolExecutor(2, "registry")


async def in_thread(call: Callable[..., T], *arguments: object) -> T:
    """Like `asyncio.to_thread`, in these threads."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, partial(call, *arguments))


class Resolver(AbstractResolver):
    """The system's resolver (getaddrinfo(3))."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises OSError."""
        look = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, address in await in_thread(look)
        ]

    async def close(self) -> None:
        """The threads are for all."""
