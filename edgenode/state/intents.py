"""What operators want of a group, kept over restarts and reboots."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edgenode.state.database import StateError, open_database


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
    """The stored intents. Blocking, a few milliseconds at worst: call it from a thread."""

    def __init__(self, state_dir: Path) -> None:
        """Raises StateError."""
        self._connection = open_database(state_dir)
        self._connection.execute("PRAGMA synchronous = FULL")

    def all(self) -> dict[str, Intent]:
        """By group. Raises StateError."""
        try:
            rows = self._connection.execute(
                'SELECT "group", kind, since, reason FROM intents'
            ).fetchall()
        except sqlite3.Error as error:
            raise StateError(f"the intents cannot be read: {error}") from None
        known = set(IntentKind)
        # A newer version may have stored a kind that this one does not know: the safe reading
        # of "an operator wanted something else than normal" is withdrawn.
        return {
            group: Intent(
                group, IntentKind(kind) if kind in known else IntentKind.WITHDRAWN, since, reason
            )
            for group, kind, since, reason in rows
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
        """Close the database."""
        self._connection.close()

    def _write(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        try:
            with self._connection:
                self._connection.executemany(statement, rows)
        except sqlite3.Error as error:
            raise StateError(f"the intent was not stored: {error}") from None
