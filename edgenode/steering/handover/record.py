"""The state of connections as bytes: a header, rows with named columns, and what is held. Pure.

Layout: MAGIC, the lengths of header, rows and blob, and their CRC-32 (`_PREFIX`); then the header
(JSON), the rows (JSON, an array each) and the bytes that the rows hold, in their order.

The header names the columns of its rows. So another version reads them: a column that it does not
know is passed over, and one that is missing has its default. What must not be passed over is named
in the header's "needs": a version that does not know one of these refuses. A change that neither
covers makes another FORMAT, and the old version goes on.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

FORMAT = 1

NEEDS: frozenset[str] = frozenset()
"""What a reader of our states must know."""

KNOWN: frozenset[str] = frozenset()
"""What we know of that which others may need."""

_MAGIC = b"EDGEHO\0\1"
_PREFIX = struct.Struct("<8sIQQI")

Header = dict[str, Any]


class RecordError(ValueError):
    """The bytes are no state that can be used; the message says why."""


class Row(NamedTuple):
    """One connection. `_up` is of the user's side and what flows from it, `_down` of the worker's.

    Times are of the machine's monotonic clock. Descriptors are numbers of their places beside the
    record, -1: none, KEPT: it was sent before; `inode` is for their being the right ones.
    """

    number: int = 0
    phase: str = "LIVE"
    service: str = ""
    client_host: str = ""
    client_port: int = 0
    local_host: str = ""
    local_port: int = 0
    started: float = 0.0
    connected: float | None = None
    dialed: float = 0.0
    attempts: int = 0
    errors: tuple[str, ...] = ()
    header_size: int = 0
    region: str | None = None
    worker: str | None = None
    address: str = ""
    port: int = 0
    guarded: bool = False
    fd_up: int = -1
    fd_down: int = -1
    inode_up: int = 0
    inode_down: int = 0
    # What changes of one that is live, see `State`.
    active: float = 0.0
    half_closed: bool = False
    moved_up: int = 0
    moved_down: int = 0
    held_up: bytes = b""
    held_down: bytes = b""
    ended_up: bool = False
    ended_down: bool = False
    failed_up: bool = False
    failed_down: bool = False
    eof_up: bool = False
    eof_down: bool = False
    end_passed_up: bool = False
    end_passed_down: bool = False
    broken_up: bool = False
    broken_down: bool = False
    reset: str | None = None
    reset_at: float = 0.0
    more: dict[str, Any] | None = None
    """What only some connections have, by name."""


KEPT = -2

Marks = tuple[bool, bool]
State = tuple[
    float, bool, int, int, bytes, bytes, *Marks, *Marks, *Marks, *Marks, *Marks, str | None, float
]
"""From `active` to `reset_at`."""

_HELD = (Row._fields.index("held_up"), Row._fields.index("held_down"))


def encode(header: Header, rows: Sequence[Row], needs: Iterable[str] = NEEDS) -> bytes:
    """The record as bytes."""
    blobs: list[bytes] = []
    plain: list[Sequence[Any]] = []
    up, down = _HELD
    for row in rows:
        if row[up] or row[down]:
            values: list[Any] = list(row)
            blobs += (values[up], values[down])
            values[up], values[down] = len(values[up]), len(values[down])
            plain.append(values)
        else:
            plain.append((*row[:up], 0, 0, *row[down + 1 :]))
    head = {**header, "format": FORMAT, "columns": Row._fields, "needs": sorted(needs)}
    return pack(head, plain, b"".join(blobs))


def pack(head: Header, rows: Sequence[Sequence[Any]], blob: bytes) -> bytes:
    """Header, rows and blob as they are, behind their lengths and CRC."""
    parts = (_json(head), _json(rows), blob)
    prefix = _PREFIX.pack(_MAGIC, *map(len, parts), _crc(parts))
    return b"".join((prefix, *parts))


def decode(data: bytes) -> tuple[Header, list[Row]]:
    """The inverse of `encode`, also of another version's. Raises RecordError."""
    if len(data) < _PREFIX.size:
        raise RecordError("the state is too short")
    magic, *sizes, crc = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise RecordError("this is no state of connections")
    if len(data) != _PREFIX.size + sum(sizes):
        raise RecordError("the state's length is wrong")
    parts, at = [], _PREFIX.size
    for size in sizes:
        parts.append(data[at : at + size])
        at += size
    if _crc(parts) != crc:
        raise RecordError("the state is damaged")
    head: Header = json.loads(parts[0])
    if head["format"] != FORMAT:
        raise RecordError(f"the state has format {head['format']}, known is {FORMAT}")
    if unknown := set(head["needs"]) - KNOWN - NEEDS:
        raise RecordError(f"the state needs what is not known here: {', '.join(sorted(unknown))}")
    return head, _rows(head["columns"], json.loads(parts[1]), parts[2])


def _rows(columns: Sequence[str], plain: list[list[Any]], blob: bytes) -> list[Row]:
    fields = list(Row._fields)
    if list(columns) != fields:
        places = {name: at for at, name in enumerate(columns)}
        defaults = Row()._asdict() | {"held_up": 0, "held_down": 0}
        plain = [
            [row[places[name]] if name in places else defaults[name] for name in fields]
            for row in plain
        ]
    errors, at = fields.index("errors"), 0
    rows = []
    for values in plain:
        for place in _HELD:
            size = values[place]
            values[place] = blob[at : at + size] if size else b""
            at += size
        values[errors] = tuple(values[errors])
        rows.append(Row._make(values))
    if at != len(blob):
        raise RecordError("what is held does not add up")
    return rows


def check(rows: Sequence[Row], descriptors: int) -> None:
    """Each descriptor belongs to one connection, and what is said of it agrees.

    Raises RecordError.
    """
    used = [fd for row in rows for fd in (row.fd_up, row.fd_down) if fd >= 0]
    if sorted(used) != list(range(descriptors)):
        raise RecordError(f"{descriptors} descriptors came, and {len(used)} are named")
    if len({row.number for row in rows}) != len(rows):
        raise RecordError("a connection is there twice")
    for row in rows:
        where = f"connection {row.number}"
        if row.fd_up == -1 or (row.phase == "LIVE" and (row.fd_down == -1 or not row.worker)):
            raise RecordError(f"{where} lacks a side")
        if (row.end_passed_up and (not row.eof_up or row.held_up)) or (
            row.end_passed_down and (not row.eof_down or row.held_down)
        ):
            raise RecordError(f"{where} has passed an end on before all bytes")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _crc(parts: Sequence[bytes]) -> int:
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc
