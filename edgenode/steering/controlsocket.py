"""The Unix socket on which control finds steering: newline-delimited JSON objects."""

from __future__ import annotations

import errno
import json
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgenode.places import bind
from edgenode.steering.faults import NO_ROOM

_PIECE = 256 * 1024
_LONGEST = 64 << 20  # bytes of a line; a table of 100,000 targets is a tenth of it
_BEHIND = 1 << 20  # unread bytes from which on a client gets no reports
_MOST_UNREAD = 8 << 20  # unread bytes from which on a client that wants more is dropped
_MOST_CLIENTS = 128  # control, and tools that ask for the status
_PATIENCE = 1.0
_PAUSE = 1.0  # seconds until accept(2) is tried again when descriptors or memory ran out


class SocketTaken(Exception):
    """Another steering answers on the socket."""


def listen(path: Path) -> socket.socket:
    """Open the socket (mode 0600), over a stale one if nobody answers there.

    Raises SocketTaken and OSError.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(_PATIENCE)
        try:
            trial.connect(str(path))
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:
            path.unlink()
        except OSError as error:
            if error.errno not in (
                errno.EAGAIN,
                errno.ETIMEDOUT,
            ):  # it is there, but does not keep up
                raise
            raise SocketTaken(_taken(path)) from None
        else:
            raise SocketTaken(_taken(path))
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bind(server, path)
        server.listen(16)
        server.setblocking(False)
    except OSError:
        server.close()
        raise
    return server


def _taken(path: Path) -> str:
    return f"another edgenode steering runs (it answers on {path}); stop it first"


class Client:
    """One that has connected: control, or a tool that asks for the status."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.setblocking(False)
        self.wants: frozenset[str] = frozenset()
        """The types of messages that it asks for beside reports and answers."""
        self._incoming = bytearray()
        self._outgoing = bytearray()

    @property
    def blocked(self) -> bool:
        return bool(self._outgoing)

    @property
    def behind(self) -> bool:
        """Whether it reads too slowly to be sent what it did not ask for."""
        return len(self._outgoing) > _BEHIND

    @property
    def lost(self) -> bool:
        """Whether it asks and asks, and does not read the answers."""
        return len(self._outgoing) > _MOST_UNREAD

    def receive(self) -> list[bytes]:
        """Return the lines that have come. Raises EOFError at the end, OSError, and ValueError."""
        try:
            data = self.socket.recv(_PIECE)
        except BlockingIOError:
            return []
        if not data:
            raise EOFError
        self._incoming += data
        *lines, rest = self._incoming.split(b"\n") if b"\n" in data else [self._incoming]
        if len(rest) > _LONGEST:
            raise ValueError(f"a line of more than {_LONGEST} bytes")
        self._incoming = rest
        return [bytes(line) for line in lines]

    def send(self, message: dict[str, Any]) -> None:
        """Send a message, or keep what the socket does not take. Raises OSError."""
        self._outgoing += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what is kept, as far as the socket takes it. Raises OSError."""
        try:
            while self._outgoing:
                size = self.socket.send(self._outgoing, socket.MSG_NOSIGNAL)
                del self._outgoing[:size]
        except BlockingIOError:
            return


class ControlSocket:
    """Serves the socket; each line of a client is passed to `on_line(client, line)`.

    `server`: the socket of a steering that runs; it is paused until `resume`.
    """

    def __init__(
        self,
        path: Path,
        selector: selectors.BaseSelector,
        on_line: Callable[[Client, bytes], None],
        server: socket.socket | None = None,
    ) -> None:
        self._path = path
        self._selector = selector
        self._on_line = on_line
        self._clients: set[Client] = set()
        self._resume_at: float | None = None  # not None: no descriptors to accept with
        self._paused = True
        self.server = listen(path) if server is None else server
        if server is None:
            self.resume()

    def pause(self) -> None:
        """Hear nobody until `resume`; what is published is sent all the same."""
        if not self._paused:
            self._paused = True
            for client in self._clients:
                self._selector.unregister(client.socket)
            if self._resume_at is None:
                self._selector.unregister(self.server)

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            for client in self._clients:
                self._selector.register(client.socket, selectors.EVENT_READ, self._callback(client))
                self._watch(client)
            if self._resume_at is None:
                self._selector.register(self.server, selectors.EVENT_READ, self._on_connect)

    def send(self, client: Client, message: dict[str, Any]) -> None:
        """Send to one client; nothing happens if it is gone."""
        if client not in self._clients:
            return
        if client.lost:
            self._drop(client)
            return
        try:
            client.send(message)
        except OSError:
            self._drop(client)
            return
        self._watch(client)

    def publish(self, message: dict[str, Any], wanted: str | None = None) -> None:
        """Send to all clients that keep up, or to those that want such messages."""
        for client in list(self._clients):
            if not client.behind and (wanted is None or wanted in client.wants):
                self.send(client, message)

    def close(self, unlink: bool = True) -> None:
        """Remove the socket, unless another process has it; leave the clients."""
        self.pause()
        for client in list(self._clients):
            self._drop(client)
        self.server.close()
        if unlink:
            self._path.unlink(missing_ok=True)

    def tend(self, now: float) -> None:
        """Accept again, some time after descriptors ran out."""
        if self._resume_at is not None and now >= self._resume_at:
            self._resume_at = None
            if not self._paused:
                self._selector.register(self.server, selectors.EVENT_READ, self._on_connect)

    def next_due(self) -> float:
        """When `tend` is needed next although no event came."""
        return float("inf") if self._resume_at is None else self._resume_at

    def _on_connect(self, _events: int, now: float) -> None:
        try:
            connection, _ = self.server.accept()
        except OSError as error:
            if error.errno in NO_ROOM:  # the client waits: it would be reported again and again
                self._resume_at = now + _PAUSE
                self._selector.unregister(self.server)
            return  # else it has left again
        if len(self._clients) >= _MOST_CLIENTS:  # relay workers must find a descriptor left
            connection.close()
            return
        client = Client(connection)
        self._clients.add(client)
        self._selector.register(connection, selectors.EVENT_READ, self._callback(client))

    def _callback(self, client: Client) -> Callable[[int, float], None]:
        return lambda events, _now: self._on_client(client, events)

    def _on_client(self, client: Client, events: int) -> None:
        if client not in self._clients:  # dropped earlier in this round
            return
        try:
            lines = client.receive() if events & selectors.EVENT_READ else []
            if events & selectors.EVENT_WRITE:
                client.flush()
        except (EOFError, ValueError, OSError):
            self._drop(client)
            return
        for line in lines:
            self._on_line(client, line)
        self._watch(client)

    def _watch(self, client: Client) -> None:
        if client in self._clients and not self._paused:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.blocked else 0)
            self._selector.modify(client.socket, events, self._callback(client))

    def _drop(self, client: Client) -> None:
        self._clients.discard(client)
        if not self._paused:
            self._selector.unregister(client.socket)
        client.socket.close()
