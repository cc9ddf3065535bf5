from __future__ import annotations

import struct
import zlib
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.system.gpt import ROOT, ROOT_VERITY, Partition, TableError, parse, read

PARTS = [
    Partition(ROOT, uuid4(), "root_1.0", 1 << 20, 8 << 20),
    Partition(ROOT_VERITY, uuid4(), "root_1.0", 9 << 20, 2 << 20),
    Partition(ROOT, uuid4(), "_empty", 11 << 20, 8 << 20),
]


def table(parts: list[Partition], sector: int) -> bytes:
    """A disk's first sectors, as UEFI 2.10 has them."""
    rows = b"".join(
        part.type.bytes_le
        + part.uuid.bytes_le
        + struct.pack("<QQQ", part.start // sector, (part.start + part.size) // sector - 1, 0)
        + part.label.encode("utf-16-le").ljust(72, b"\0")
        for part in parts
    ).ljust(128 * 128, b"\0")

    def header(checksum: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII",
            *(b"EFI PART", 0x10000, 92, checksum, 0, 1, 99, 34, 90, UUID(int=7).bytes_le),
            *(2, 128, 128, zlib.crc32(rows)),
        )

    whole = header(zlib.crc32(header(0)))
    return bytes(sector) + whole.ljust(sector, b"\0") + rows


@pytest.mark.parametrize("sector", [512, 4096])
def test_partitions_are_read_from_the_disk(tmp_path: Path, sector: int) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(table(PARTS, sector))
    assert read(disk, sector) == PARTS


@given(st.integers(0, 91), st.integers(1, 255))
def test_a_damaged_header_is_no_table(at: int, flip: int) -> None:
    whole = bytearray(table(PARTS, 512))
    whole[512 + at] ^= flip
    with pytest.raises(TableError):
        parse(bytes(whole[512:1024]), bytes(whole[1024:]), 512)


@given(st.integers(0, 16383), st.integers(1, 255))
def test_a_damaged_table_is_refused(at: int, flip: int) -> None:
    whole = bytearray(table(PARTS, 512))
    whole[1024 + at] ^= flip
    with pytest.raises(TableError, match="damaged"):
        parse(bytes(whole[512:1024]), bytes(whole[1024:]), 512)


@given(st.binary(max_size=600))
def test_bytes_are_no_table(data: bytes) -> None:
    with pytest.raises(TableError):
        parse(data, data, 512)
