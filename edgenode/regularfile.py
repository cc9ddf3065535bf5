"""Files that are read because an operator named them: regular ones, of bounded size, and in time.

A FIFO in such a file's place would be waited for, a terminal would become ours, a device may have
no end, and to open one may do something (watchdog(8)). A file system that does not answer (NFS,
FUSE) holds up whoever opens a file of it, in the kernel, where no signal ends it.

Standard library only: the lifeline reads its settings by it.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

LARGEST = 16 << 20
"""Bytes that a file may have where nothing else is said."""
IN_TIME = 20.0
"""Seconds that a file system may take: a busy disk does, one that is away does not answer."""

_GIVEN = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
"""What whoever runs a command has opened for it: a pipe too."""

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


class NotRegular(OSError):
    """It is no file to be read; `strerror` says what it is, or what is wrong with it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(errno.EINVAL, why, str(path))


def read(path: Path, largest: int = LARGEST, seconds: float | None = IN_TIME) -> bytes:
    """All of a regular file. Raises OSError, whose `strerror` ends "cannot be read: ..."."""
    return read_with_status(path, largest, seconds)[0]


def read_with_status(
    path: Path, largest: int = LARGEST, seconds: float | None = IN_TIME
) -> tuple[bytes, os.stat_result]:
    """The same, with who owns and who may read the very file that was read. Raises OSError.

    `seconds` None: it waits as long as the file system does, in this thread.
    """
    raw, status = begin(path, largest + 1, seconds)
    if len(raw) > largest:
        raise NotRegular(path, f"it has more than {largest} bytes")
    return raw, status


def begin(path: Path, size: int, seconds: float | None = IN_TIME) -> tuple[bytes, os.stat_result]:
    """The first bytes, `size` at most, of a regular file. Raises OSError."""
    if seconds is None:
        return _read(path, size)
    result: list[tuple[bytes, os.stat_result]] = []
    trouble: list[Exception] = []

    def work() -> None:
        try:
            result.append(_read(path, size))
        except Exception as error:  # a fault of ours too: it is the caller's to see
            trouble.append(error)

    # A thread that the kernel holds is left behind: nobody waits for it, the end of us included.
    thread = threading.Thread(target=work, name=f"read {path}", daemon=True)
    thread.start()
    thread.join(seconds)
    if trouble:
        raise trouble[0]
    if not result:
        why = f"its file system has not answered within {seconds:g} s: see whether it is there"
        raise NotRegular(path, why)
    return result[0]


def _read(path: Path, size: int) -> tuple[bytes, os.stat_result]:
    given = str(path).startswith(_GIVEN)
    if not given:
        _must_be_regular(path, os.stat(path))
    # O_NONBLOCK: it may have become a FIFO since.
    waiting = 0 if given else os.O_NONBLOCK
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | waiting)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not given:
            _must_be_regular(path, status)
        return file.read(size), status


def _must_be_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    what = next((name for is_one, name in _KINDS if is_one(status.st_mode)), "something else")
    raise NotRegular(path, f"it is {what}, and no regular file")
