"""Targets on loopback, and the descriptors that are open."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address

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


@pytest.fixture
def answering() -> Iterator[Callable[..., Endpoint]]:
    """Starts a server that reads a request and sends the given bytes, then closes or holds on."""
    stop = threading.Event()
    servers: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(server: socket.socket, answer: bytes, hold: bool, seen: list[bytes] | None) -> None:
        held = []
        while not stop.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                break
            try:
                request = connection.recv(4096)
                if seen is not None:
                    seen.append(request)
                connection.sendall(answer)
            except OSError:
                pass
            if hold:
                held.append(connection)
            else:
                connection.close()
        for connection in held:
            connection.close()

    def start(answer: bytes, *, hold: bool = False, seen: list[bytes] | None = None) -> Endpoint:
        server = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=serve, args=(server, answer, hold, seen), daemon=True)
        servers.append(server)
        threads.append(thread)
        thread.start()
        return Endpoint(ip_address("127.0.0.1"), server.getsockname()[1])

    yield start
    stop.set()
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
    for thread in threads:
        thread.join(timeout=5)
