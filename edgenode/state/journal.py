"""What happened and when, of bounded size, written behind the decisions' back."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from edgenode.state.database import StateError, open_to_write, opened_to_read

log = logging.getLogger(__name__)

MAX_EVENTS = 20_000
_QUEUE = 10_000
_FILE = "history.sqlite"
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    text TEXT NOT NULL
)
"""


@dataclass(frozen=True)
class Event:
    """One thing that happened; `at` is wall-clock time in seconds of the epoch."""

    at: float
    kind: str
    subject: str
    text: str


@dataclass(frozen=True)
class Wanted:
    """Which events are wanted; what is absent leaves nothing out."""

    since: float | None = None
    """Wall-clock seconds of the epoch."""
    kinds: tuple[str, ...] = ()
    subjects: tuple[tuple[str, str], ...] = ()
    """Pairs of a kind ("" is any) and a subject."""


def newest(state_dir: Path, count: int, wanted: Wanted = Wanted()) -> list[Event]:
    """The newest events, oldest first, whether control runs or not. Raises StateError."""
    path = state_dir / _FILE
    conditions, values = ["1"], list[object]()
    if wanted.since is not None:
        conditions.append("at >= ?")
        values.append(wanted.since)
    if wanted.kinds:
        conditions.append(f"kind IN ({', '.join('?' * len(wanted.kinds))})")
        values += wanted.kinds
    if wanted.subjects:
        pairs = " OR ".join("(subject = ? AND ? IN ('', kind))" for _ in wanted.subjects)
        conditions.append(f"({pairs})")
        values += [each for kind, subject in wanted.subjects for each in (subject, kind)]
    query = (
        "SELECT at, kind, subject, text FROM events "
        f"WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?"
    )
    try:
        with opened_to_read(path) as connection:
            rows = connection.execute(query, (*values, count)).fetchall()
    except FileNotFoundError:
        raise StateError(f"there is no history in {path}: edgenode control writes it") from None
    except PermissionError as error:
        raise StateError(
            f"the history in {path} cannot be read ({error.strerror}): are you root?"
        ) from None
    except (OSError, sqlite3.Error) as error:
        raise StateError(f"the history in {path} cannot be read ({error})") from None
    return [Event(*row) for row in reversed(rows)]


class Journal:
    """Events in SQLite, written by a thread of its own.

    `record` never waits for the disk: a withdraw must not, and a disk that is full or read-only
    must change nothing but the history. What cannot be written is counted in `lost`. A file that
    is damaged is put aside, and another one begun.
    """

    def __init__(self, state_dir: Path, max_events: int = MAX_EVENTS) -> None:
        """Opens nothing yet, and so never fails."""
        self._path = state_dir / _FILE
        self._max_events = max_events
        self._connection: sqlite3.Connection | None = None
        self._queue: queue.Queue[Event | None] = queue.Queue(_QUEUE)
        self._problem = ""
        self.lost = 0
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    def record(self, event: Event) -> None:
        """Note an event; returns at once."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self.lost += 1

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued, within `timeout` seconds."""
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _write(self) -> None:
        ended = False
        while not ended:
            batch, ended = self._batch()
            try:
                try:
                    self._store(batch)
                except sqlite3.OperationalError:
                    raise  # full, read-only, locked: the file itself is as it should be
                except sqlite3.DatabaseError as error:
                    self._put_aside(error)
                    self._store(batch)
                self._problem = ""
            except Exception as error:  # whatever it is, the thread goes on
                self._close()
                self.lost += len(batch)
                if str(error) != self._problem:
                    log.warning("events are not stored in %s: %s", self._path, error)
                self._problem = str(error)
        self._close()

    def _store(self, batch: list[Event]) -> None:
        if not batch:
            return
        if self._connection is None or not self._path.exists():
            self._close()
            self._connection = open_to_write(self._path, _SCHEMA, _VERSION)
        with self._connection:
            self._connection.executemany(
                "INSERT INTO events (at, kind, subject, text) VALUES (?, ?, ?, ?)",
                [(e.at, e.kind, e.subject, e.text) for e in batch],
            )
            self._connection.execute(
                "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?",
                (self._max_events,),
            )

    def _put_aside(self, error: sqlite3.Error) -> None:
        """One damaged file is kept, to be looked at. Raises OSError."""
        self._close()
        aside = self._path.with_suffix(".damaged")
        self._path.replace(aside)
        self._path.with_name(f"{_FILE}-journal").unlink(missing_ok=True)
        log.warning("%s was damaged (%s): kept as %s, and begun anew", self._path, error, aside)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

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
