"""What operators want of a group, kept over restarts and reboots."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edgenode.state.database import StateError, open_to_write, opened_to_read

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS intents (
    "group" TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    since REAL NOT NULL,
    reason TEXT NOT NULL
)
"""


class IntentKind(StrEnum):
    """What an operator asked for; no intent means that checks and regions decide."""

    DRAINED = "drained"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Intent:
    """One group's intent; `since` is wall-clock time in seconds of the epoch."""

    group: str
    kind: IntentKind
    since: float
    reason: str


class Intents:
    """The stored intents. Blocking, a few milliseconds at worst: call it from a thread.

    The file is opened for each call: one that was removed or put back is heeded, and a full disk
    is in nobody's way but a writer's.
    """

    def __init__(self, state_dir: Path) -> None:
        """Raises StateError if what is stored cannot be read."""
        self._path = state_dir / "intents.sqlite"
        self.all()

    def all(self) -> dict[str, Intent]:
        """By group. Raises StateError."""
        known = set(IntentKind)
        # A newer version may have stored a kind that this one does not know: the safe reading
        # of "an operator wanted something else than normal" is withdrawn.
        return {
            group: Intent(
                group, IntentKind(kind) if kind in known else IntentKind.WITHDRAWN, since, reason
            )
            for group, kind, since, reason in self._rows()
        }

    def put(self, *intents: Intent) -> None:
        """Store intents, all or none, on the disk before it returns. Raises StateError."""
        self._write(
            "INSERT OR REPLACE INTO intents VALUES (?, ?, ?, ?)",
            [(i.group, i.kind.value, i.since, i.reason) for i in intents],
        )

    def clear(self, *groups: str) -> None:
        """Forget the intents of groups. Raises StateError."""
        self._write('DELETE FROM intents WHERE "group" = ?', [(group,) for group in groups])

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _rows(self) -> list[tuple[str, str, float, str]]:
        try:
            with opened_to_read(self._path) as connection:
                if connection.execute("PRAGMA user_version").fetchone() == (0,):
                    return []  # its maker was killed before there was anything in it
                return connection.execute(
                    'SELECT "group", kind, since, reason FROM intents'
                ).fetchall()
        except FileNotFoundError:
            return []
        except (OSError, sqlite3.Error) as error:
            raise StateError(
                f"the operators' intents in {self._path} cannot be read ({_why(error)}): look at "
                "that file; to remove it is to forget every drain and withdraw, so that whatever "
                "is healthy is announced"
            ) from None

    def _write(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        try:
            with closing(open_to_write(self._path, _SCHEMA, _VERSION)) as connection, connection:
                connection.executemany(statement, rows)
        except (OSError, sqlite3.Error) as error:
            raise StateError(
                f"the intent was not stored in {self._path} ({_why(error)}): "
                "see that this file can be written, and say it again"
            ) from None


def _why(error: OSError | sqlite3.Error) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
