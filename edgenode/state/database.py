"""The SQLite files, and how they are opened.

Intents and history lie in files of their own: what becomes of the history must never stand in the
way of an intent, and with it of control. Both have a rollback journal and no WAL, so that they can
be read on a disk that is full or read-only, where a WAL could not be made.

A version that was rolled back to finds the files of the newer one. What that one added is in
nobody's way, as long as our tables are in there, with our columns. Otherwise the file is kept under
another name (`NAME.v3`), and ours from before the newer version is taken, which a newer version
leaves beside it when it changes a file (`NAME.v2`); where there is none, an empty one.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

_TIMEOUT = 2.0
"""Seconds to wait for another process (control, or the command) that writes."""


class StateError(Exception):
    """The state cannot be used; the text says which file and what to do."""


def open_to_write(path: Path, schema: str, version: int) -> sqlite3.Connection:
    """Open a database, made with mode 0600 if it is not there. Raises OSError, sqlite3.Error.

    Whoever makes it, it belongs to the directory's owner: root's command may be the first to write,
    and control, a user of its own, must be able to read it. (SQLite does so with its journals.)
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    go_back(path, schema, version)
    path.touch(mode=0o600)
    if os.geteuid() == 0 and path.stat().st_uid != (owner := path.parent.stat()).st_uid:
        os.chown(path, owner.st_uid, owner.st_gid)
    connection = sqlite3.connect(path, timeout=_TIMEOUT, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found < version:
            if found:
                _keep(connection, path, found)
            connection.executescript(f"{schema}; PRAGMA user_version = {version};")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def opened_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """A database that is there; nothing is made. Raises FileNotFoundError, OSError, sqlite3.Error.

    Not SQLite's ``mode=ro``: that cannot undo what a process left half done when it was killed.
    """
    path.stat()
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=_TIMEOUT)
    try:
        connection.execute("PRAGMA query_only = 1")
        yield connection
    finally:
        connection.close()


def go_back(path: Path, schema: str, version: int) -> bool:
    """Whether the file was a newer version's, of no use to this one, and is put aside.

    Raises OSError, sqlite3.Error.
    """
    if not path.exists():
        return False
    with opened_to_read(path) as connection:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found <= version or _fits(connection, schema):
            return False
    kept = _beside(path, version)
    log.warning(
        "%s is of a newer version, and kept as %s: %s",
        path,
        _beside(path, found),
        "ours from before it is taken again" if kept.exists() else "it is begun anew",
    )
    # What was left half done in it is undone since it was read.
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    path.replace(_beside(path, found))
    if kept.exists():
        kept.replace(path)
    return True


def _fits(connection: sqlite3.Connection, schema: str) -> bool:
    """Whether all that we read is there, and all that we do not write may be absent."""
    ours = sqlite3.connect(":memory:")
    try:
        ours.executescript(schema)
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        for (table,) in ours.execute(tables):
            wanted = {row[1] for row in ours.execute(_COLUMNS, (table,))}
            there = {row[1]: row for row in connection.execute(_COLUMNS, (table,))}
            new = [there[name] for name in there.keys() - wanted]
            # Each row: its number, name, type, whether it must have a value, its default.
            if wanted - there.keys() or any(row[3] and row[4] is None for row in new):
                return False
    finally:
        ours.close()
    return True


_COLUMNS = "SELECT * FROM pragma_table_info(?)"


def _keep(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """A copy for the version before, which may be rolled back to."""
    kept = _beside(path, version)
    kept.unlink(missing_ok=True)
    kept.touch(mode=0o600)
    owner = path.stat()
    if os.geteuid() == 0:
        os.chown(kept, owner.st_uid, owner.st_gid)
    copy = sqlite3.connect(kept)
    try:
        connection.backup(copy)
    finally:
        copy.close()


def _beside(path: Path, version: int) -> Path:
    return path.with_name(f"{path.name}.v{version}")
