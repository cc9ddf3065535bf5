"""The image to be flashed: whether it is one, and where in it there is anything but zeros."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from edgenode.flash.errors import FlashError
from edgenode.flash.table import SECTOR, Table, TableError, parse

CHUNK = 4 * 1024 * 1024
_START = 34 * SECTOR
_MUST = ("esp", "var")

Progress = Callable[[int, int], None]
"""Bytes done, of how many."""


def table_of(image: Path) -> Table:
    """Raises FlashError: it is no image of ours."""
    try:
        with image.open("rb") as file:
            start = file.read(_START)
    except OSError as error:
        raise FlashError(f"{image}: {error.strerror}") from None
    if start[:4] == b"QFI\xfb":
        raise FlashError(
            f"{image} is a qcow2 image, for virtual machines: flash the .raw beside it"
        )
    try:
        table = parse(start)
    except TableError as error:
        raise FlashError(f"{image} is no image of edgenode: it {error}") from None
    missing = [label for label in _MUST if label not in table.labels]
    if missing or not any(label.startswith("root_") for label in table.labels):
        raise FlashError(
            f"{image} is no image of edgenode: it has no partition {missing or 'root'}"
        )
    if image.stat().st_size < table.end * SECTOR:
        raise FlashError(f"{image} is cut off: its partitions end behind it")
    return table


def check_sum(image: Path, progress: Progress) -> bool:
    """Whether SHA256SUMS beside it says that it is whole; False: nothing is said of it.

    Raises FlashError: it is another.
    """
    try:
        lines = image.with_name("SHA256SUMS").read_text().splitlines()
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError) as error:
        raise FlashError(f"{image.with_name('SHA256SUMS')} cannot be read: {error}") from None
    # A star before the name: read as binary, which is the same on Linux (sha256sum(1)).
    sums = {
        name.removeprefix(" ").removeprefix("*"): digest
        for digest, _, name in (line.partition(" ") for line in lines)
    }
    if image.name not in sums:
        return False
    digest, size = hashlib.sha256(), image.stat().st_size
    with image.open("rb") as file:
        done = 0
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(done, size)
    if digest.hexdigest() != sums[image.name]:
        raise FlashError(f"{image} is not what SHA256SUMS beside it says: build or copy it again")
    return True


def extents(fd: int, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """The file's parts in that range, as (from, to, whether there is data)."""
    at = start
    while at < end:
        try:
            data = min(os.lseek(fd, at, os.SEEK_DATA), end)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = end
        if data > at:
            yield at, data, False
        if data < end:
            hole = min(os.lseek(fd, data, os.SEEK_HOLE), end)
            yield data, hole, True
            data = hole
        at = data
