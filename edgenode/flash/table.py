"""A GUID partition table (UEFI 2.10, 5.3): an image's, made to fit a larger disk. Pure.

The backup goes to the disk's end, before it a partition for the identity; what is free in between
is the image's last partition's, which systemd-repart grows at the first boot.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from uuid import UUID

SECTOR = 512
ALIGNMENT = 1024 * 1024
IDENTITY = UUID("6b0f3a5e-6f2c-4d53-9f35-1f0a6e6f8a01")
"""The identity's partition type: edgenode's own, so that nothing else takes it for its own."""
LABEL = "identity"

_HEADER = struct.Struct("<8s4sIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")


class TableError(ValueError):
    """There is no such table, or it does not fit."""


@dataclass(frozen=True)
class Table:
    """One; places in sectors."""

    header: bytes
    entries: bytes
    labels: dict[str, tuple[int, int]]
    """By label: first and last sector."""

    @property
    def first_usable(self) -> int:
        return int(_HEADER.unpack_from(self.header)[7])

    @property
    def end(self) -> int:
        """The sector behind the last partition."""
        return max((last for _, last in self.labels.values()), default=0) + 1


@dataclass(frozen=True)
class Layout:
    """What is written where; places in bytes."""

    identity: int
    backup: tuple[int, bytes]
    primary: tuple[int, bytes]
    """Protective MBR, header and entries."""


def parse(start: bytes) -> Table:
    """Of a disk's or an image's first 34 sectors. Raises TableError."""
    header = start[SECTOR : 2 * SECTOR]
    if len(header) < _HEADER.size or header[:8] != b"EFI PART":
        raise TableError("has no GUID partition table")
    fields = _HEADER.unpack_from(header)
    length, count, each = fields[2], fields[11], fields[12]
    bare = header[:16] + bytes(4) + header[20:length]
    if not _HEADER.size <= length <= SECTOR or zlib.crc32(bare) != fields[3]:
        raise TableError("has a damaged partition table")
    if fields[10] != 2 or each != _ENTRY.size or count * each > 32 * SECTOR:
        raise TableError("has a partition table of a strange form")
    entries = start[2 * SECTOR : 2 * SECTOR + count * each]
    if zlib.crc32(entries) != fields[13]:
        raise TableError("has a damaged partition table")
    labels = {}
    for offset in range(0, len(entries), each):
        kind, _, first, last, _, name = _ENTRY.unpack_from(entries, offset)
        if any(kind):
            labels[name.decode("utf-16-le", "replace").partition("\0")[0]] = (first, last)
    return Table(header, entries, labels)


def room(table: Table, identity: int) -> int:
    """Bytes that a disk must have for an image and an identity of so many."""
    return table.end * SECTOR + identity + 2 * ALIGNMENT


def layout(table: Table, disk: int, identity: int, unique: UUID) -> Layout:
    """The table for a disk of `disk` bytes, with `identity` bytes for that partition.

    `unique`: the partition's own UUID. Raises TableError: it does not fit.
    """
    if disk < room(table, identity):
        raise TableError("the disk is too small")
    sectors = disk // SECTOR
    size = len(table.entries) // SECTOR
    last_usable = sectors - size - 2
    at = (last_usable * SECTOR - identity) // ALIGNMENT * ALIGNMENT
    free = next(
        (
            n
            for n in range(0, len(table.entries), _ENTRY.size)
            if not any(table.entries[n : n + 16])
        ),
        None,
    )
    if free is None:
        raise TableError("the image's partition table is full")
    entries = bytearray(table.entries)
    _ENTRY.pack_into(
        entries,
        free,
        IDENTITY.bytes_le,
        unique.bytes_le,
        at // SECTOR,
        (at + identity) // SECTOR - 1,
        0,
        LABEL.encode("utf-16-le"),
    )
    content = bytes(entries)
    primary = _header(table.header, content, 1, sectors - 1, 2, last_usable)
    backup = _header(table.header, content, sectors - 1, 1, sectors - 1 - size, last_usable)
    mbr = bytearray(SECTOR)
    # One partition of type EE over the whole disk (UEFI 2.10, 5.2.3).
    struct.pack_into(
        "<B3sB3sII", mbr, 446, 0, b"\0\2\0", 0xEE, b"\xff" * 3, 1, min(sectors - 1, 2**32 - 1)
    )
    mbr[510:] = b"\x55\xaa"
    return Layout(
        at,
        ((sectors - 1 - size) * SECTOR, content + backup),
        (0, bytes(mbr) + primary + content),
    )


def _header(old: bytes, entries: bytes, own: int, other: int, at: int, last_usable: int) -> bytes:
    fields = list(_HEADER.unpack_from(old))
    fields[2:4] = [_HEADER.size, 0]
    fields[5:7] = [own, other]
    fields[8] = last_usable
    fields[10] = at
    fields[13] = zlib.crc32(entries)
    fields[3] = zlib.crc32(_HEADER.pack(*fields))
    return _HEADER.pack(*fields).ljust(SECTOR, b"\0")
