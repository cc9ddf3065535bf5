"""What upstreams are thought to hold against our groups, kept over restarts and reboots.

The age of a penalty must be right whatever becomes of the clock on the wall. The monotonic clock
is nobody's to step, and all processes of a boot share it: as long as it has gone on since, it is
believed. (After a reboot it may have come by that far again; the penalty then looks younger than it
is, and a wait is too long rather than too short.) Where it has begun anew, there is only the clock
on the wall: it is believed forward, and for the time since boot at least.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from edgenode.state.database import open_to_write, opened_to_read

log = logging.getLogger(__name__)

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS penalties (
    "group" TEXT PRIMARY KEY,
    penalty REAL NOT NULL,
    withdrawn_before REAL,
    level TEXT NOT NULL,
    monotonic REAL NOT NULL,
    wall REAL NOT NULL
)
"""


@dataclass(frozen=True)
class Moment:
    """A point in time by both clocks; in seconds."""

    monotonic: float
    wall: float


@dataclass(frozen=True)
class Row:
    """One group's record, as it was at `at`."""

    group: str
    penalty: float
    withdrawn_before: float | None
    """Seconds before `at` that it was last withdrawn."""
    level: str
    """That was in force since."""
    at: Moment


def present_moment() -> Moment:
    """By the clocks of this machine."""
    return Moment(time.monotonic(), time.time())


def age(then: Moment, now: Moment) -> float:
    """Seconds between two moments, never negative."""
    if now.monotonic >= then.monotonic:
        return now.monotonic - then.monotonic
    return max(now.monotonic, now.wall - then.wall)


class Penalties:
    """The table. Blocking, a few milliseconds at worst: call it from a thread.

    It is a memory aid: what cannot be read is as if it had never been, and said so in the log. A
    route that comes back too early does less harm than one that does not come back.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "damping.sqlite"
        self._problem = ""

    def all(self) -> Mapping[str, Row]:
        """By group. A file that is damaged is removed: nothing in it is worth keeping."""
        try:
            with opened_to_read(self._path) as connection:
                if connection.execute("PRAGMA user_version").fetchone() == (0,):
                    return {}
                rows = connection.execute(
                    'SELECT "group", penalty, withdrawn_before, level, monotonic, wall '
                    "FROM penalties"
                ).fetchall()
        except FileNotFoundError:
            return {}
        except (OSError, sqlite3.OperationalError) as error:
            self._complain(f"cannot be read ({error})")
            return {}
        except sqlite3.Error as error:
            self._complain(f"is damaged ({error}), and begun anew")
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            return {}
        return {
            group: Row(group, penalty, withdrawn, level, Moment(monotonic, wall))
            for group, penalty, withdrawn, level, monotonic, wall in rows
        }

    def prune(self, groups: Iterable[str]) -> None:
        """Forget these groups."""
        try:
            with closing(open_to_write(self._path, _SCHEMA, _VERSION)) as connection, connection:
                connection.executemany(
                    'DELETE FROM penalties WHERE "group" = ?', [(group,) for group in groups]
                )
        except (OSError, sqlite3.Error) as error:
            self._complain(f"cannot be written ({error}): groups that are gone stay in it")

    def put(self, rows: Iterable[Row]) -> bool:
        """Whether they were stored."""
        values = [
            (
                *(row.group, row.penalty, row.withdrawn_before, row.level),
                *(row.at.monotonic, row.at.wall),
            )
            for row in rows
        ]
        try:
            with closing(open_to_write(self._path, _SCHEMA, _VERSION)) as connection, connection:
                connection.executemany(
                    'INSERT OR REPLACE INTO penalties ("group", penalty, withdrawn_before, level, '
                    "monotonic, wall) VALUES (?, ?, ?, ?, ?, ?)",
                    values,
                )
        except (OSError, sqlite3.Error) as error:
            self._complain(f"cannot be written ({error}): a restart will forget penalties")
            return False
        self._problem = ""
        return True

    def _complain(self, what: str) -> None:
        if what != self._problem:
            log.warning("%s %s", self._path, what)
        self._problem = what
