"""Targets on loopback, and the descriptors that are open."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from edgenode.config import Endpoint


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Accepts in the kernel only: a proxy that listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def listener_v6() -> Iterator[socket.socket]:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        yield server


@pytest.fixture
def endpoint_of() -> Callable[[socket.socket], Endpoint]:
    def endpoint(server: socket.socket) -> Endpoint:
        host, port = server.getsockname()[:2]
        return Endpoint(ip_address(host), port)

    return endpoint


@pytest.fixture
def closed() -> Iterator[Endpoint]:
    """An endpoint at which nobody listens, kept from everybody else."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield Endpoint(ip_address("127.0.0.1"), bound.getsockname()[1])


@pytest.fixture
def descriptors() -> Callable[[], int]:
    return lambda: len(os.listdir("/proc/self/fd"))


class Answerer:
    """A server that reads a request and sends the given bytes, `delay` seconds later, then closes
    or (`hold`) holds on. One connection at a time."""

    def __init__(
        self,
        answer: bytes,
        *,
        hold: bool = False,
        seen: list[bytes] | None = None,
        delay: float = 0.0,
    ) -> None:
        self._answer = answer
        self._hold = hold
        self._seen = [] if seen is None else seen
        self._delay = delay
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = Endpoint(ip_address("127.0.0.1"), self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(timeout=5)

    def _serve(self) -> None:
        held = []
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                break
            with contextlib.suppress(OSError):
                self._seen.append(connection.recv(4096))
                time.sleep(self._delay)
                connection.sendall(self._answer)
            if self._hold:
                held.append(connection)
            else:
                connection.close()
        for connection in held:
            connection.close()


@pytest.fixture
def answering() -> Iterator[Callable[..., Endpoint]]:
    """Starts an Answerer with these arguments; its endpoint."""
    servers = []

    def start(answer: bytes, **options: Any) -> Endpoint:
        servers.append(Answerer(answer, **options))
        return servers[-1].endpoint

    yield start
    for server in servers:
        server.stop()
