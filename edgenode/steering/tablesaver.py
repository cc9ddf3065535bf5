"""Saving tables beside the supervisor's loop: a slow disk must not keep it from the heartbeats.

Nor from handing over the next table: where many follow each other, few of them are saved.

Two processes save while a new version takes over. The old one begins no save from then on
(`forget`), and the new one's, which all begin later, wait for one that the old one has begun.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgenode.steering import tablefile
from edgenode.steering.table import Table

SETTLE = 0.1
"""Seconds after a table until the newest one is written: first the relay workers get theirs."""

logger = logging.getLogger("edgenode.steering")


class TableSaver:
    """Saves in a thread of its own; only the newest table matters, others may be passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = threading.Condition()
        self._next: Table | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def save(self, table: Table) -> None:
        """Save the table soon."""
        with self._changed:
            self._next = table
            self._changed.notify()

    def forget(self) -> None:
        """Another process saves from now on: begin nothing any more."""
        with self._changed:
            self._next = None
            self._closed = True
            self._changed.notify()

    def close(self, patience: float) -> None:
        """Save what is left; wait up to `patience` seconds for it."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(patience)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next is not None or self._closed)
                self._changed.wait_for(lambda: self._closed, SETTLE)
                if self._next is None:
                    return
                table, self._next = self._next, None
            try:
                with _alone(self._path.parent):
                    tablefile.save(self._path, table)
            except OSError as error:  # it serves all the same, but a restart brings the old one
                logger.error("cannot save the table in %s: %s", self._path, error)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """While no other process saves there, see flock(2). Raises OSError."""
    directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
