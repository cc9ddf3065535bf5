"""What upstreams are thought to hold against our groups, kept over restarts and reboots.

The age of a penalty must be right whatever becomes of the clock. Within one boot it is told by
the monotonic clock, which all processes share and nobody steps; over a reboot there is only the
clock on the wall, and it is believed as far as it goes forward, at least for the time since boot.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgenode.state.database import open_to_write, opened_to_read

log = logging.getLogger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS penalties (
    "group" TEXT PRIMARY KEY,
    penalty REAL NOT NULL,
    withdrawn_before REAL,
    level TEXT NOT NULL,
    boot TEXT NOT NULL,
    monotonic REAL NOT NULL,
    wall REAL NOT NULL
)
"""


@dataclass(frozen=True)
class Moment:
    """A point in time by all the clocks that there are; in seconds."""

    boot: str
    """Which boot of the machine `monotonic` belongs to."""
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
    return Moment(_boot(), time.monotonic(), time.time())


@cache
def _boot() -> str:
    """Where it cannot be told each process is taken for a boot of its own."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return f"process of {time.time()}"


def age(then: Moment, now: Moment) -> float:
    """Seconds between two moments, never negative."""
    if then.boot == now.boot:
        return max(0.0, now.monotonic - then.monotonic)
    return max(0.0, now.monotonic, now.wall - then.wall)


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
                    'SELECT "group", penalty, withdrawn_before, level, boot, monotonic, wall '
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
            group: Row(group, penalty, withdrawn, level, Moment(boot, monotonic, wall))
            for group, penalty, withdrawn, level, boot, monotonic, wall in rows
        }

    def put(self, rows: Iterable[Row]) -> bool:
        """Whether they were stored."""
        values = [
            (
                *(row.group, row.penalty, row.withdrawn_before, row.level),
                *(row.at.boot, row.at.monotonic, row.at.wall),
            )
            for row in rows
        ]
        try:
            with closing(open_to_write(self._path, _SCHEMA, _VERSION)) as connection, connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO penalties VALUES (?, ?, ?, ?, ?, ?, ?)", values
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
