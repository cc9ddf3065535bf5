"""What operators want of the groups, and of the node, kept over restarts and reboots.

Two tables. `intents` has one row a group and is as it ever was: the version before this one reads
and writes it, and takes a kind that it does not know for withdrawn. `wishes` has what is beyond
that table: author and end of an intent, degrading towards single neighbors, and what is wanted of
the node as a whole. A row of `wishes` that belongs to an intent counts for just that one: if the
version before has changed or removed the intent since, the row says nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from edgenode.state.database import StateError, go_back, open_to_write, opened_to_read

NODE = "*"
"""In place of a group: the whole node."""

Key = tuple[str, str]
"""Group, and what tells its intents apart: the neighbor or, of the node, the kind."""

_VERSION = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS intents (
    "group" TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    since REAL NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS wishes (
    "group" TEXT NOT NULL,
    slot TEXT NOT NULL,
    kind TEXT NOT NULL,
    since REAL NOT NULL,
    until REAL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY ("group", slot)
)
"""


class IntentKind(StrEnum):
    """What an operator asked for; no intent means that checks and regions decide."""

    DEGRADED = "degraded"
    """Of a group, or of a group towards one neighbor."""
    DRAINED = "drained"
    """Drained first, withdrawn when it is."""
    MAINTENANCE = "maintenance"
    """The same, for work on the node; of a group, or of the node."""
    WITHDRAWN = "withdrawn"
    PAUSED = "paused"
    """Of the node: nothing moves by itself."""


@dataclass(frozen=True)
class Intent:
    """One thing that is wanted; times are wall-clock seconds of the epoch."""

    group: str
    """Or NODE."""
    kind: IntentKind
    since: float
    reason: str
    neighbor: str = ""
    """Only towards this one (DEGRADED)."""
    until: float | None = None
    """When it ends by itself."""
    author: str = ""

    @property
    def key(self) -> Key:
        """An intent replaces the one with the same key."""
        return self.group, self.kind.value if self.group == NODE else self.neighbor


class Intents:
    """The stored intents. Blocking, a few milliseconds at worst: call it from a thread.

    The file is opened for each call: one that was put back is heeded, and a full disk is in
    nobody's way but a writer's.
    """

    def __init__(self, state_dir: Path) -> None:
        """Raises StateError if what is stored cannot be read."""
        self._path = state_dir / "intents.sqlite"
        self.all()

    def all(self) -> dict[Key, Intent]:
        """Every intent. Raises StateError."""
        plain, wishes = self._rows() or ([], [])
        found = {intent.key: intent for intent in map(_intent, plain)}
        for group, slot, kind, since, until, author, reason in wishes:
            known = found.get((group, slot))
            if known and known.kind == kind and known.since == since:
                found[known.key] = replace(known, until=until, author=author)
            elif group == NODE or slot:
                wish = replace(
                    _intent((group, kind, since, reason)),
                    neighbor="" if group == NODE else slot,
                    until=until,
                    author=author,
                )
                found[wish.key] = wish
        return found

    def there(self) -> bool:
        """Whether anything was ever stored in the file as it now is. Raises StateError."""
        return self._rows() is not None

    def put(self, *intents: Intent) -> None:
        """Store intents, all or none, on the disk before it returns. Raises StateError."""
        self._write(
            [
                (
                    'INSERT OR REPLACE INTO intents ("group", kind, since, reason) '
                    "VALUES (?, ?, ?, ?)",
                    [
                        (i.group, i.kind.value, i.since, i.reason)
                        for i in intents
                        if i.group != NODE and not i.neighbor
                    ],
                ),
                (
                    'INSERT OR REPLACE INTO wishes ("group", slot, kind, since, until, author, '
                    "reason) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [(*i.key, i.kind.value, i.since, i.until, i.author, i.reason) for i in intents],
                ),
            ]
        )

    def clear(self, *keys: Key) -> None:
        """Forget intents. Raises StateError."""
        groups = [(group,) for group, slot in keys if group != NODE and not slot]
        self._write(
            [
                ('DELETE FROM intents WHERE "group" = ?', groups),
                ('DELETE FROM wishes WHERE "group" = ? AND slot = ?', list(keys)),
            ]
        )

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _rows(self) -> tuple[list[_Plain], list[_Wish]] | None:
        """None if there is no file, or nothing was ever in it."""
        try:
            go_back(self._path, _SCHEMA, _VERSION)
            with opened_to_read(self._path) as connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version == 0:
                    return None  # its maker was killed before there was anything in it
                plain = connection.execute(
                    'SELECT "group", kind, since, reason FROM intents'
                ).fetchall()
                if version < _VERSION:
                    return plain, []
                return plain, connection.execute(
                    'SELECT "group", slot, kind, since, until, author, reason FROM wishes'
                ).fetchall()
        except FileNotFoundError:
            return None
        except PermissionError as error:
            # To be told to remove the file would be the wrong advice.
            raise StateError(
                f"the operators' intents in {self._path} cannot be read ({error.strerror}): "
                "are you root, or the user that control is?"
            ) from None
        except (OSError, sqlite3.Error) as error:
            raise StateError(
                f"the operators' intents in {self._path} cannot be read ({_why(error)}): look at "
                "that file; to remove it is to forget every drain and withdraw, so that whatever "
                "is healthy is announced"
            ) from None

    def _write(self, statements: Iterable[tuple[str, Sequence[tuple[object, ...]]]]) -> None:
        try:
            with closing(open_to_write(self._path, _SCHEMA, _VERSION)) as connection, connection:
                for statement, rows in statements:
                    connection.executemany(statement, rows)
        except (OSError, sqlite3.Error) as error:
            raise StateError(
                f"the intent was not stored in {self._path} ({_why(error)}): "
                "see that this file can be written, and say it again"
            ) from None


_Plain = tuple[str, str, float, str]
_Wish = tuple[str, str, str, float, float | None, str, str]
_KINDS = set(IntentKind)


def _intent(row: _Plain) -> Intent:
    group, kind, since, reason = row
    # A newer version may have stored a kind that this one does not know: the safe reading
    # of "an operator wanted something else than normal" is withdrawn.
    return Intent(
        group, IntentKind(kind) if kind in _KINDS else IntentKind.WITHDRAWN, since, reason
    )


def _why(error: OSError | sqlite3.Error) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
