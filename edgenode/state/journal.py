"""What happened and when, of bounded size, written behind the decisions' back."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from edgenode.state.database import open_database

log = logging.getLogger(__name__)

MAX_EVENTS = 20_000
_QUEUE = 10_000


@dataclass(frozen=True)
class Event:
    """One thing that happened; `at` is wall-clock time in seconds of the epoch."""

    at: float
    kind: str
    subject: str
    text: str


class Journal:
    """Events in SQLite, written by a thread of its own.

    `record` never waits for the disk: a withdraw must not, and a full disk must change nothing
    but the history. What cannot be written is counted in `lost`.
    """

    def __init__(self, state_dir: Path, max_events: int = MAX_EVENTS) -> None:
        """Raises StateError."""
        self._connection = open_database(state_dir)
        self._max_events = max_events
        self._queue: queue.Queue[Event | None] = queue.Queue(_QUEUE)
        self.lost = 0
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    def record(self, event: Event) -> None:
        """Note an event; returns at once."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self.lost += 1

    def newest(self, count: int) -> list[Event]:
        """The newest events, oldest first."""
        rows = self._connection.execute(
            "SELECT at, kind, subject, text FROM events ORDER BY id DESC LIMIT ?", (count,)
        ).fetchall()
        return [Event(*row) for row in reversed(rows)]

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued, within `timeout` seconds."""
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _write(self) -> None:
        while True:
            batch, ended = self._batch()
            try:
                with self._connection:
                    self._connection.executemany(
                        "INSERT INTO events (at, kind, subject, text) VALUES (?, ?, ?, ?)",
                        [(e.at, e.kind, e.subject, e.text) for e in batch],
                    )
                    self._connection.execute(
                        "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?",
                        (self._max_events,),
                    )
            except sqlite3.Error as error:
                self.lost += len(batch)
                log.warning("%d events were not stored: %s", len(batch), error)
            if ended:
                return

    def _batch(self) -> tuple[list[Event], bool]:
        batch: list[Event] = []
        event = self._queue.get()
        while event is not None:
            batch.append(event)
            try:
                event = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True
