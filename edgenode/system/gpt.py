"""A disk's GUID partition table, read from the disk itself (UEFI 2.10, 5.3). Pure but for `read`.

What udev says of labels (/dev/disk/by-partlabel) is late just after an update has written them.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

ROOT = UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
"""Root file system, x86-64 (uapi-group.org, Discoverable Partitions Specification)."""
ROOT_VERITY = UUID("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5")

_HEADER = struct.Struct("<8s4sIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
_LARGEST = 1 << 20


class TableError(ValueError):
    """The bytes are no partition table."""


@dataclass(frozen=True)
class Partition:
    """One; its place in bytes."""

    type: UUID
    uuid: UUID
    label: str
    start: int
    size: int


def read(disk: Path, sector: int = 512) -> list[Partition]:
    """The partitions of a disk, or of its image. Raises OSError, TableError."""
    with open(disk, "rb", buffering=0) as file:
        header = file.read(2 * sector)[sector:]
        at, size = place(header, sector)
        file.seek(at)
        table = file.read(size)
    return parse(header, table, sector)


def place(header: bytes, sector: int) -> tuple[int, int]:
    """Where the table is, and how large, in bytes. Raises TableError."""
    if len(header) < _HEADER.size or header[:8] != b"EFI PART":
        raise TableError("no GUID partition table")
    fields = _HEADER.unpack_from(header)
    length, at, count, each = fields[2], fields[10], fields[11], fields[12]
    if not _HEADER.size <= length <= len(header):
        raise TableError("the partition table's header is damaged")
    bare = header[:16] + b"\0\0\0\0" + header[20:length]
    if zlib.crc32(bare) != fields[3]:
        raise TableError("the partition table's header is damaged")
    if each < _ENTRY.size or count * each > _LARGEST:
        raise TableError("the partition table is none of this specification")
    return at * sector, count * each


def parse(header: bytes, table: bytes, sector: int) -> list[Partition]:
    """Raises TableError."""
    _, size = place(header, sector)
    fields = _HEADER.unpack_from(header)
    each, checksum = fields[12], fields[13]
    if len(table) < size or zlib.crc32(table[:size]) != checksum:
        raise TableError("the partition table is damaged")
    found = []
    for offset in range(0, size, each):
        kind, uuid, first, last, _, label = _ENTRY.unpack_from(table, offset)
        if kind != bytes(16):
            name = label.decode("utf-16-le", "replace").partition("\0")[0]
            extent = first * sector, (last - first + 1) * sector
            found.append(Partition(UUID(bytes_le=kind), UUID(bytes_le=uuid), name, *extent))
    return found
