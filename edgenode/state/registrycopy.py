"""The last good copy of the registry: what a node serves from while etcd is away, over restarts.

One file, replaced in one transaction. It is a copy: one that is damaged is told, and made anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edgenode.state.database import StateError, go_back, open_to_write, opened_to_read

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    gone REAL
);
CREATE TABLE IF NOT EXISTS origin (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    prefix TEXT NOT NULL,
    cluster TEXT NOT NULL,
    revision INTEGER NOT NULL,
    heard REAL NOT NULL
)
"""


@dataclass(frozen=True)
class Stored:
    """One record."""

    key: str
    value: bytes
    created: int
    modified: int
    gone: float | None = None
    """Unix time at which it had gone from etcd, and was kept all the same."""


@dataclass(frozen=True)
class Copy:
    """All of them, as of a revision."""

    prefix: str
    cluster: str
    revision: int
    heard: float
    """Unix time at which etcd last said that this is so."""
    records: Sequence[Stored]


class RegistryCopy:
    """Blocking, some milliseconds at worst: call it from a thread once the node is at work."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "registry.sqlite"

    def load(self) -> Copy | None:
        """None: there is none. Raises StateError."""
        try:
            go_back(self._path, _SCHEMA, _VERSION)
            with opened_to_read(self._path) as connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version == 0:
                    return None  # its maker was killed
                origin = connection.execute(
                    "SELECT prefix, cluster, revision, heard FROM origin"
                ).fetchone()
                rows = connection.execute(
                    "SELECT key, value, created, modified, gone FROM records"
                ).fetchall()
        except FileNotFoundError:
            return None
        except (OSError, sqlite3.Error) as error:
            raise StateError(
                f"the copy of the registry in {self._path} cannot be read ({error}): the workers "
                "are known again as soon as etcd answers"
            ) from None
        if origin is None:
            return None
        prefix, cluster, revision, heard = origin
        return Copy(prefix, cluster, revision, heard, [Stored(*row) for row in rows])

    def store(self, copy: Copy) -> None:
        """Instead of what was there. Raises StateError."""
        try:
            self._store(copy)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, or a full disk
                raise StateError(self._failed(error)) from None
            try:
                self._path.unlink(missing_ok=True)
                self._store(copy)
            except (OSError, sqlite3.Error) as again:
                raise StateError(self._failed(again)) from None
        except OSError as error:
            raise StateError(self._failed(error)) from None

    def _store(self, copy: Copy) -> None:
        with closing(open_to_write(self._path, _SCHEMA, _VERSION)) as connection, connection:
            connection.execute("DELETE FROM records")
            connection.executemany(
                "INSERT INTO records (key, value, created, modified, gone) VALUES (?, ?, ?, ?, ?)",
                [(r.key, r.value, r.created, r.modified, r.gone) for r in copy.records],
            )
            connection.execute(
                "INSERT OR REPLACE INTO origin (only, prefix, cluster, revision, heard) "
                "VALUES (1, ?, ?, ?, ?)",
                (copy.prefix, copy.cluster, copy.revision, copy.heard),
            )

    def _failed(self, error: Exception) -> str:
        return (
            f"the registry could not be copied to {self._path} ({error}): see that it can be "
            "written, or a restart without etcd begins with an older copy"
        )
