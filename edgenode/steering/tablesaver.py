"""Saving tables beside the supervisor's loop: a slow disk must not keep it from the heartbeats."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from edgenode.steering import tablefile
from edgenode.steering.table import Table

logger = logging.getLogger("edgenode.steering")


class TableSaver:
    """Saves in a thread of its own; only the newest table matters, others may be passed over.

    `wake` is called, in that thread, when a save is over.
    """

    def __init__(self, path: Path, wake: Callable[[], None]) -> None:
        self._path = path
        self._wake = wake
        self._changed = threading.Condition()
        self._next: tuple[int, Table] | None = None
        self._finished = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def save(self, number: int, table: Table) -> None:
        """Save the table soon; numbers rise."""
        with self._changed:
            self._next = (number, table)
            self._changed.notify()

    def finished(self, number: int) -> bool:
        """Whether this table or a later one has been saved, or could not be (it is logged)."""
        return self._finished >= number

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
                if self._next is None:
                    return
                (number, table), self._next = self._next, None
            try:
                tablefile.save(self._path, table)
            except OSError as error:  # it serves all the same, but a restart brings the old one
                logger.error("cannot save the table in %s: %s", self._path, error)
            self._finished = number
            self._wake()
