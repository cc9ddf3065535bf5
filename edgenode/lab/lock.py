"""One owner for each lab's name."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from edgenode.lab.errors import LabError
from edgenode.lab.names import RUN_ROOT

# How long a start waits for the guard of a lab whose owner has just died.
PATIENCE = 30.0


class Lock:
    """An flock(2) on RUN_ROOT/NAME.lock, which holds its owner's pid.

    The guard inherits the descriptor, so that nobody starts the lab anew while it cleans up.
    """

    def __init__(self, name: str, root: Path = RUN_ROOT) -> None:
        self.name = name
        self.path = root / f"{name}.lock"
        self.descriptor = -1

    def acquire(self, patience: float = PATIENCE) -> None:
        """Take the lock; wait up to `patience` seconds if its owner is dead and the guard at work.

        Raises LabError, naming the owner, when the lab is in use.
        """
        deadline = time.monotonic() + patience
        while not self._try():
            owner = self.owner()
            if owner is not None and _alive(owner):
                raise LabError(
                    f"lab {self.name!r} is in use by process {owner}: "
                    "wait for its end, or take another name"
                )
            if time.monotonic() > deadline:
                raise LabError(f"lab {self.name!r} is still being cleaned up: try again later")
            time.sleep(0.05)

    def _try(self) -> bool:
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # the directory went in this moment
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one before us removes the file: a lock on a removed file protects nothing.
            current = os.stat(self.path)
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)
            return False
        if current.st_ino != os.fstat(descriptor).st_ino:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self.descriptor = descriptor
        return True

    def owner(self) -> int | None:
        """The pid of who has, or had last, this lock."""
        with contextlib.suppress(OSError, ValueError):
            return int(self.path.read_text(encoding="ascii"))
        return None

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if self.descriptor < 0:
            return
        remove(self.path)
        os.close(self.descriptor)
        self.descriptor = -1


def remove(path: Path) -> None:
    """Remove a lock's file while holding it, and its directory when it was the last thing there."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def holder(name: str, root: Path = RUN_ROOT) -> int | None:
    """The process that owns a lab now, None when nobody does."""
    pid = Lock(name, root).owner()
    return pid if pid is not None and _alive(pid) else None


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"
