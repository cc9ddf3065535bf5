"""A relay in a thread of its own, and workers that behave in all the ways that workers do."""

from __future__ import annotations

import ctypes
import json
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from edgenode.steering import proxyprotocol
from edgenode.steering.accesslog import AccessLog
from edgenode.steering.dial import Limits
from edgenode.steering.relay import Relay
from edgenode.steering.table import (
    DEFAULT_DIALING,
    DEFAULT_LOGGING,
    DEFAULT_OUTLIERS,
    Bind,
    Dialing,
    Logging,
    Outliers,
    ProxyProtocol,
    RegionTargets,
    Service,
    Table,
    Target,
)
from edgenode.steering.why import Why

T = TypeVar("T")
PATIENCE = 10.0
USER = "127.0.0.2"  # not the address that the relay listens on, so that it is no local probe
RESET = struct.pack("ii", 1, 0)


class Worker:
    """A worker: `serve(connection, header)` runs in a thread for each connection."""

    def __init__(
        self,
        serve: Callable[[socket.socket, proxyprotocol.Header | None], None],
        host: str = "127.0.0.1",
        header: bool = True,
    ) -> None:
        self.accepted = 0
        self.errors: list[BaseException] = []
        self._serve = serve
        self._header = header
        self._listener = listen(host)
        threading.Thread(target=self._accept, daemon=True).start()

    def target(self, name: str) -> Target:
        host, port = self._listener.getsockname()[:2]
        return Target(name, host, port)

    def cut(self) -> None:
        """From now on drop all packets silently, as a cut tunnel does."""
        # struct sock_filter: one BPF_RET | BPF_K, length 0; see socket(7), SO_ATTACH_FILTER.
        program = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
        fprog = struct.pack("HP", 1, ctypes.addressof(program))
        self._listener.setsockopt(socket.SOL_SOCKET, 26, fprog)

    def mend(self) -> None:
        self._listener.setsockopt(socket.SOL_SOCKET, 27, 0)  # SO_DETACH_FILTER

    def close(self) -> None:
        # Only shutting it down wakes the thread in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            connection.settimeout(PATIENCE)
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._serve(connection, read_header(connection) if self._header else None)
        except (OSError, EOFError, AssertionError) as error:
            self.errors.append(error)


def listen(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind((host, 0))
    listener.listen(1024)
    return listener


def read_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(min(size - len(data), 1 << 20))
        if not piece:
            raise EOFError(f"{len(data)} of {size} bytes")
        data += piece
    return bytes(data)


def read_all(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def read_header(connection: socket.socket) -> proxyprotocol.Header:
    data = read_exactly(connection, 16)
    data += read_exactly(connection, int.from_bytes(data[14:16], "big"))
    header = proxyprotocol.decode(data)
    assert header is not None
    return header


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


def echo(connection: socket.socket, header: proxyprotocol.Header | None) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def named(name: bytes) -> Callable[[socket.socket, proxyprotocol.Header | None], None]:
    """A worker that says its name when it has read a byte, then echoes."""

    def serve(connection: socket.socket, header: proxyprotocol.Header | None) -> None:
        first = connection.recv(65536)
        connection.sendall(name + first)
        echo(connection, header)

    return serve


def eventually(condition: Callable[[], T], what: str = "") -> T:
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, what or "it did not happen in time"
        time.sleep(0.005)
    return value


class RunningRelay:
    """A relay that runs until the test ends. The relay is only touched in its own thread."""

    def __init__(self, log: Path, limit: int, limits: Limits) -> None:
        self.log_file = log
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake, woken = socket.socketpair()
        self._stopped = False
        self._listeners: dict[str, tuple[str, int]] = {}
        self._revision = 0
        self.relay = Relay(AccessLog(log), limit, limits)

        def called() -> None:
            woken.recv(1)
            self._calls.get()()

        self.relay.watch(woken.fileno(), called)
        self._woken = woken
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped:
            self.relay.step(self.relay.now + 1.0)
        self.relay.stop_accepting()
        self.relay.abort_all(Why.STOPPED)

    def call(self, function: Callable[[], T]) -> T:
        """Call the function in the relay's thread."""
        results: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

        def call() -> None:
            try:
                results.put((True, function()))
            except BaseException as error:
                results.put((False, error))

        self._calls.put(call)
        self._wake.send(b"x")
        good, result = results.get(timeout=PATIENCE)
        if not good:
            raise result
        value: T = result
        return value

    def stop(self) -> None:
        def stop() -> None:
            self._stopped = True

        self.call(stop)
        self._thread.join(PATIENCE)
        self._wake.close()
        self._woken.close()

    def listen(self, name: str, host: str = "127.0.0.1") -> None:
        listener = listen(host)
        host, port = listener.getsockname()[:2]
        self._listeners[name] = (host, port)
        self.call(lambda: self.relay.add_listener(self.address(name), listener))

    def address(self, name: str) -> str:
        host, port = self._listeners[name]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def service(
        self,
        *regions: tuple[str, list[Target]],
        name: str = "web",
        proxy_protocol: ProxyProtocol = "v2",
        connect_timeout: float = 0.3,
        idle_timeout: float = 60.0,
        hedge: bool = True,
    ) -> Service:
        return Service(
            name,
            (self.address(name),),
            proxy_protocol,
            connect_timeout,
            idle_timeout,
            tuple(RegionTargets(region, tuple(workers)) for region, workers in regions),
            hedge=hedge,
        )

    def apply(
        self,
        *services: Service,
        bind: Bind = Bind(),  # noqa: B008
        outliers: Outliers = DEFAULT_OUTLIERS,
        dialing: Dialing = DEFAULT_DIALING,
        logging: Logging = DEFAULT_LOGGING,
    ) -> None:
        self._revision += 1
        table = Table(self._revision, "lon1", bind, services, outliers, dialing, logging)
        self.call(lambda: self.relay.apply(table))

    def serve(self, *regions: tuple[str, list[Target]], host: str = "127.0.0.1") -> None:
        """One service that listens, with these regions."""
        self.listen("web", host)
        self.apply(self.service(*regions))

    def connect(self, name: str = "web", source: str | None = USER) -> socket.socket:
        host, port = self._listeners[name]
        local = (source, 0) if source and ":" not in host else None
        user = socket.create_connection((host, port), PATIENCE, local)
        user.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return user

    def report(self) -> dict[str, Any]:
        return self.call(self.relay.counters.to_json)

    def left_alone(self) -> set[str | None]:
        return {one.worker for one in self.call(lambda: list(self.relay.ejections()))}

    def web(self) -> dict[str, Any]:
        web: dict[str, Any] = self.report()["services"]["web"]
        return web

    def idle(self) -> bool:
        return self.relay.live == 0

    def log(self, lines: int) -> list[dict[str, Any]]:
        """The access log, once it has so many lines."""

        def read() -> list[dict[str, Any]]:
            found = [json.loads(line) for line in self.log_file.read_text().splitlines()]
            return found if len(found) >= lines else []

        return eventually(read, f"the log has fewer than {lines} lines")
