"""Image and identity onto the disk, and read back: the partition table comes last.

| killed | what the disk is |
|---|---|
| before the tables are wiped | what it was |
| until all is written and has been read back | a disk without a partition table: it does not boot |
| when the table's backup is there | the node: all is there, and firmware may go by the backup |
| later | the node |
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from edgenode.flash.disk import Disk, look
from edgenode.flash.errors import FlashError
from edgenode.flash.identity import MOST
from edgenode.flash.image import CHUNK, Progress, extents
from edgenode.flash.table import ALIGNMENT, SECTOR, Table, layout

_BLKRRPART, _BLKZEROOUT, _BLKFLSBUF = 0x125F, 0x127F, 0x1261  # linux/fs.h
_BUSY = 5.0
"""Seconds: udev looks at each disk that was written to, and holds it meanwhile."""

Step = Callable[[str], Progress]
"""A step begins: where to tell how far it is."""


def flash(image: Path, table: Table, identity: bytes, disk: Disk, step: Step) -> None:
    """On a disk that may be written to, which is still what `look` saw. Raises FlashError."""
    plan = layout(table, disk.size, MOST, uuid.uuid4())
    start, end = table.first_usable * SECTOR, table.end * SECTOR
    blob = identity.ljust(MOST, b"\0")
    with _readable(image) as source, _claimed(disk) as to:
        try:
            _wipe(to, disk.size)
            _write(source, to, start, end, step("writing"))
            _put(to, blob, plan.identity)
            os.fsync(to)
            _verify(source, disk.path, start, end, step("reading back"))
            _same(disk.path, plan.identity, blob)
            for at, content in (plan.backup, plan.primary):
                # The header makes it a table: last, and by itself.
                _write_table(to, at, content)
                _same(disk.path, at, content)
        except OSError as error:
            said = f"{disk.path}: {error.strerror or error}: flash it again, it does not boot now"
            raise FlashError(said) from None
        with contextlib.suppress(OSError):  # the kernel sees the partitions later, then
            fcntl.ioctl(to, _BLKRRPART)


@contextlib.contextmanager
def _readable(image: Path) -> Iterator[int]:
    try:
        fd = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FlashError(f"{image}: {error.strerror}: nothing was written") from None
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _claimed(disk: Disk) -> Iterator[int]:
    """For us alone: nobody mounts it meanwhile, or a partition of it."""
    deadline = time.monotonic() + _BUSY
    while True:
        try:
            fd = os.open(disk.path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
            break
        except OSError as error:
            if error.errno == errno.EBUSY and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            why = "something has it in use" if error.errno == errno.EBUSY else error.strerror
            raise FlashError(f"{disk.path}: {why}: nothing was written") from None
    try:
        # While the operator was asked, another may have been plugged in under its name.
        if look(disk.path) != disk:
            raise FlashError(f"{disk.path} is not what it was a moment ago: nothing was written")
        yield fd
    finally:
        os.close(fd)


def _put(to: int, content: bytes, at: int) -> None:
    if os.pwrite(to, content, at) != len(content):
        raise OSError(errno.EIO, "not all could be written")


def _wipe(to: int, size: int) -> None:
    """Both tables that are there: what is half written is not to boot."""
    for at in (0, size - ALIGNMENT):
        _put(to, bytes(ALIGNMENT), at)
    os.fsync(to)


def _write(source: int, to: int, start: int, end: int, progress: Progress) -> None:
    for begin, stop, data in extents(source, start, end):
        if not data:
            _zero(to, begin, stop)
            progress(stop - start, end - start)
            continue
        for at in range(begin, stop, CHUNK):
            chunk = os.pread(source, min(CHUNK, stop - at), at)
            _put(to, chunk, at)
            progress(at + len(chunk) - start, end - start)
    os.fsync(to)


def _zero(to: int, begin: int, stop: int) -> None:
    aligned = begin % SECTOR == 0 and stop % SECTOR == 0
    if aligned:
        with contextlib.suppress(OSError):
            fcntl.ioctl(to, _BLKZEROOUT, struct.pack("QQ", begin, stop - begin))
            return
    for at in range(begin, stop, CHUNK):
        _put(to, bytes(min(CHUNK, stop - at)), at)


def _write_table(to: int, at: int, content: bytes) -> None:
    """But for the sector of the header, which follows when the rest is on the disk."""
    header = content.index(b"EFI PART")
    bare = content[:header] + bytes(SECTOR) + content[header + SECTOR :]
    _put(to, bare, at)
    os.fsync(to)
    _put(to, content[header : header + SECTOR], at + header)
    os.fsync(to)


def _verify(source: int, disk: Path, start: int, end: int, progress: Progress) -> None:
    """All that was written, from the disk and not from memory."""
    with _direct(disk) as read:
        for at in range(start, end, CHUNK):
            length = min(CHUNK, end - at)
            # What is no more than the image's end is zeros.
            wanted = os.pread(source, length, at).ljust(length, b"\0")
            if read(at, length) != wanted:
                raise FlashError(
                    f"{disk}: between bytes {at} and {at + length} it does not hold what was "
                    "written: it is broken, and does not boot now"
                )
            progress(at + length - start, end - start)


def _same(disk: Path, at: int, content: bytes) -> None:
    with _direct(disk) as read:
        if read(at, len(content)) != content:
            raise FlashError(
                f"{disk}: at byte {at} it does not hold what was written: it is broken, and is not "
                "to be used"
            )


@contextlib.contextmanager
def _direct(disk: Path) -> Iterator[Callable[[int, int], bytes]]:
    """Reads past the page cache: by O_DIRECT, or where that is refused with the cache emptied."""
    try:
        fd = os.open(disk, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        fd = os.open(disk, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.ioctl(fd, _BLKFLSBUF)
    buffer = mmap.mmap(-1, CHUNK)

    def read(at: int, length: int) -> bytes:
        found = bytearray()
        while len(found) < length:
            view = memoryview(buffer)[: min(CHUNK, length - len(found))]
            count = os.preadv(fd, [view], at + len(found))
            if count <= 0:
                raise OSError(errno.EIO, "it ends too early")
            found += view[:count]
        return bytes(found)

    try:
        yield read
    finally:
        os.close(fd)
