"""The access log: one JSON line for each connection, written in batches, never waiting."""

from __future__ import annotations

from json import JSONEncoder
from pathlib import Path
from typing import Any

from edgenode.steering.connection import Connection
from edgenode.steering.logsink import open_sink
from edgenode.steering.why import Why

FLUSH_INTERVAL = 0.05
"""Seconds that a line may wait for others."""

_BATCH = 200

_encode = JSONEncoder(separators=(",", ":")).encode


class AccessLog:
    """Lines for a file, or for standard error if `path` is None. Raises OSError when opened."""

    def __init__(self, path: Path | None) -> None:
        self._lines: list[bytes] = []
        self._sink = open_sink(path)

    @property
    def dropped(self) -> int:
        """Lines that were lost, since a reader or a disk was too slow or gone."""
        return self._sink.dropped

    @property
    def waiting(self) -> bool:
        """Whether something is to be flushed."""
        return bool(self._lines) or self._sink.waiting

    def add(self, line: dict[str, Any]) -> None:
        self._lines.append(_encode(line).encode() + b"\n")
        if len(self._lines) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what can be written without waiting."""
        lines, self._lines = self._lines, []
        if lines:
            self._sink.write(lines)
        else:
            self._sink.flush()

    def reopen(self) -> None:
        """Go on in a new file of the same path, if the old one was moved away."""
        self.flush()
        self._sink.reopen()

    def close(self) -> None:
        self.flush()
        self._sink.close()


def describe(connection: Connection, why: Why | None, now: float, wall: float) -> dict[str, Any]:
    """The line of a connection; `wall` added to `now` is Unix time, `why` None while it lives."""
    attempt, connected = connection.attempt, connection.connected
    if connected is None:
        attempt = None
    line = {
        "at": round(wall + now, 3),
        "client": _text(connection.client),
        "local": _text(connection.local),
        "service": connection.route.service.name,
        "region": attempt.region if attempt else None,
        "worker": attempt.target.worker if attempt else None,
        "attempts": connection.attempts,
        "errors": connection.errors,
        "connect_ms": None if connected is None else _ms(connected - connection.dialed),
        "up": connection.bytes_up,
        "down": connection.bytes_down,
        "duration_ms": _ms(now - connection.started),
        "why": why,
    }
    if connection.peer is not None:
        line["peer"] = _text(connection.peer)
    if connection.sni:
        line["sni"] = connection.sni
    if connection.alpn:
        line["alpn"] = connection.alpn
    if connection.unique_id:
        line["unique_id"] = connection.unique_id
    if connection.retransmits >= 0:
        line["rtt_ms"] = _ms(connection.rtt / 1e6) if connection.rtt else None
        line["retransmits"] = connection.retransmits
    if why is None:
        line["event"] = "live"
    return line


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 1)


def _text(endpoint: tuple[str, int]) -> str:
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
