"""The access log: one JSON line for each connection, written in batches, never waiting."""

from __future__ import annotations

import os
import socket
from json import JSONEncoder
from pathlib import Path
from typing import Any

from edgenode.steering.connection import Connection

FLUSH_INTERVAL = 0.05
"""Seconds that a line may wait for others."""

_BATCH = 200
_LIMIT = 1 << 20  # bytes kept for a reader that is slow; lines beyond are dropped and counted

_encode = JSONEncoder(separators=(",", ":")).encode


class AccessLog:
    """Lines for a file, or for standard error if `path` is None. Raises OSError when opened."""

    def __init__(self, path: Path | None) -> None:
        self.dropped = 0
        self._lines: list[str] = []
        self._unsent = b""
        self._socket: socket.socket | None = None
        if path is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(path, flags | os.O_NONBLOCK, 0o640)
            return
        # Others share standard error: they would not expect it to become non-blocking. Opening it
        # anew gives a description of our own; a socket (systemd's journal) cannot be opened anew,
        # but takes MSG_DONTWAIT.
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open("/proc/self/fd/2", flags | os.O_NONBLOCK)
        except OSError:
            self._fd = os.dup(2)
            self._socket = socket.socket(fileno=os.dup(2))

    @property
    def waiting(self) -> bool:
        """Whether something is to be flushed."""
        return bool(self._lines or self._unsent)

    def add(self, line: dict[str, Any]) -> None:
        self._lines.append(_encode(line))
        if len(self._lines) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what can be written without waiting."""
        if self._lines and len(self._unsent) < _LIMIT:
            self._unsent += ("\n".join(self._lines) + "\n").encode()
        else:
            self.dropped += len(self._lines)
        self._lines.clear()
        try:
            while self._unsent:
                self._unsent = self._unsent[self._write(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # the disk is full, the reader is gone: serving goes on without a log
            self.dropped += self._unsent.count(b"\n")
            self._unsent = b""

    def close(self) -> None:
        self.flush()
        os.close(self._fd)
        if self._socket is not None:
            self._socket.close()

    def _write(self, data: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return os.write(self._fd, data)


def describe(connection: Connection, why: str, now: float, wall: float) -> dict[str, Any]:
    """The line of a connection that has ended; `wall` added to `now` is Unix time."""
    attempt, connected, started = connection.attempt, connection.connected, connection.started
    if connected is None:
        attempt = None
    return {
        "at": round(wall + now, 3),
        "client": _text(connection.client),
        "local": _text(connection.local),
        "service": connection.route.service.name,
        "region": attempt.region if attempt else None,
        "worker": attempt.target.worker if attempt else None,
        "attempts": connection.attempts,
        "errors": connection.errors,
        "connect_ms": None if connected is None else round((connected - started) * 1e3, 1),
        "up": connection.bytes_up,
        "down": connection.bytes_down,
        "duration_ms": round((now - started) * 1e3, 1),
        "why": why,
    }


def _text(endpoint: tuple[str, int]) -> str:
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
