"""The partition table of an image, made to fit a disk: what sfdisk says of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.flash import table as gpt
from edgenode.flash.table import ALIGNMENT, SECTOR, TableError, layout, parse, room

UNIQUE = UUID("01234567-89ab-4def-8123-456789abcdef")
MIB = 1024 * 1024
LAYOUT = """label: gpt
start=2048, size=4096, name=esp
size=2048, name=root_1
size=2048, name=var
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(8 * MIB)
    subprocess.run(["sfdisk", "-q", path], input=LAYOUT.encode(), check=True)
    return path


def sfdisk(disk: Path) -> dict[str, dict[str, int]]:
    done = subprocess.run(["sfdisk", "--json", disk], capture_output=True, text=True, check=True)
    assert done.stderr == "", "the table is whole, and its backup is where it belongs"
    parts = json.loads(done.stdout)["partitiontable"]["partitions"]
    return {part["name"]: {"start": part["start"], "size": part["size"]} for part in parts}


def test_it_fits_the_disk_and_keeps_what_was_in_it(image: Path, tmp_path: Path) -> None:
    before = sfdisk(image)
    made = layout(parse(image.read_bytes()[: 34 * SECTOR]), 40 * MIB, MIB, UNIQUE)
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(40 * MIB)
        for at, content in (made.primary, made.backup):
            file.seek(at)
            file.write(content)
    after = sfdisk(disk)
    identity = after.pop("identity")
    assert after == before
    assert identity == {"start": made.identity // SECTOR, "size": MIB // SECTOR}
    assert 38 * MIB <= made.identity < 39 * MIB, "the last one before the backup"
    verified = subprocess.run(["sfdisk", "--verify", disk], capture_output=True, text=True)
    assert "No errors detected" in verified.stdout


@given(st.integers(0, 64 * MIB))
def test_nothing_overlaps_whatever_the_disk(size: int) -> None:
    table = gpt.Table(_HEADER, bytes(128 * 128), {"var": (2048, 16383)})
    if size < room(table, MIB):
        with pytest.raises(TableError):
            layout(table, size, MIB, UNIQUE)
        return
    made = layout(table, size, MIB, UNIQUE)
    at, backup = made.backup
    assert made.identity >= table.end * SECTOR
    assert made.identity % ALIGNMENT == 0
    assert made.identity + MIB <= at
    assert at + len(backup) <= size < at + len(backup) + SECTOR
    assert len(made.primary[1]) == 34 * SECTOR


_HEADER = gpt._HEADER.pack(
    b"EFI PART", bytes(4), 92, 0, 0, 1, 16383, 34, 16350, bytes(16), 2, 128, 128, 0
).ljust(SECTOR, b"\0")


def test_what_is_no_table_or_a_damaged_one_is_refused(image: Path) -> None:
    start = image.read_bytes()[: 34 * SECTOR]
    for spoiled in (b"", bytes(34 * SECTOR), start[:600]):
        with pytest.raises(TableError, match="has no"):
            parse(spoiled)
    for at in (SECTOR + 40, 2 * SECTOR + 60):
        with pytest.raises(TableError, match="damaged"):
            parse(start[:at] + b"\xff" + start[at + 1 :])


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_in_order(tail: bytes) -> None:
    with pytest.raises(TableError):
        parse(bytes(SECTOR) + b"EFI PART" + tail)
