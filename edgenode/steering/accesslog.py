"""The access log: one JSON line for each connection, written in batches, never waiting."""

from __future__ import annotations

from functools import lru_cache
from json import JSONEncoder
from json.encoder import encode_basestring_ascii as _quoted
from pathlib import Path

from edgenode.steering.connection import Connection
from edgenode.steering.logsink import open_sink
from edgenode.steering.why import Why

FLUSH_INTERVAL = 0.05
"""Seconds that a line may wait for others."""

_BATCH = 200

_unserved = '"region":null,"worker":null'

_reasons: dict[Why | None, str] = {why: f'"{why}"' for why in Why}
_reasons[None] = "null"

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

    def add(self, line: bytes) -> None:
        """One line, with its newline."""
        self._lines.append(line)
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


def describe(connection: Connection, why: Why | None, now: float, wall: float) -> bytes:
    """The line of a connection; `wall` added to `now` is Unix time, `why` None while it lives.

    JSON, put together by hand: a general encoder would cost as much as two system calls. Names
    need no quoting; what others have sent is quoted, and so is what may be of theirs.
    """
    attempt = connection.attempt
    errors = _encode(connection.errors) if connection.errors else "[]"
    worker = _unserved
    if attempt is not None and connection.connected is not None:
        worker = f'"region":"{attempt.region}","worker":"{attempt.target.worker}"'
        took = _decimal((connection.connected - connection.dialed) * 1e3)
    else:
        took = "null"
    text = (
        f'{{"at":{_decimal(wall + now)},"client":{_endpoint(connection.client)}'
        f',"local":{_endpoint_again(connection.local)},"service":"{connection.route.name}",{worker}'
        f',"attempts":{connection.attempts},"errors":{errors},"connect_ms":{took}'
        f',"up":{connection.bytes_up},"down":{connection.bytes_down}'
        f',"duration_ms":{_ms(now - connection.started)},"why":{_reasons[why]}'
    )
    if connection.peer is not None:
        text += f',"peer":{_endpoint(connection.peer)}'
    if connection.sni:
        text += f',"sni":{_quoted(connection.sni)}'
    if connection.alpn:
        text += f',"alpn":{_quoted(connection.alpn)}'
    if connection.unique_id:
        text += f',"unique_id":{_quoted(connection.unique_id)}'
    if connection.retransmits >= 0:
        rtt = _ms(connection.rtt / 1e6) if connection.rtt else "null"
        text += f',"rtt_ms":{rtt},"retransmits":{connection.retransmits}'
    if why is None:
        text += ',"event":"live"'
    return (text + "}\n").encode("ascii")


def _ms(seconds: float) -> str:
    """Milliseconds, with one place."""
    tenths = int(seconds * 1e4 + 0.5) if seconds > 0.0 else 0
    return f"{tenths // 10}.{tenths % 10}"


def _decimal(value: float) -> str:
    """With three places. By whole numbers, which are printed faster."""
    thousandths = int(value * 1e3 + 0.5) if value > 0.0 else 0
    return f"{thousandths // 1000}.{thousandths % 1000:03d}"


def _endpoint(endpoint: tuple[str, int]) -> str:
    host, port = endpoint
    return _quoted(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


_endpoint_again = lru_cache(maxsize=256)(_endpoint)  # of this node, mostly
