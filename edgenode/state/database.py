"""The SQLite files, and how they are opened.

Intents and history lie in files of their own: what becomes of the history must never stand in the
way of an intent, and with it of control. Both have a rollback journal and no WAL, so that they can
be read on a disk that is full or read-only, where a WAL could not be made.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    path.touch(mode=0o600)
    if os.geteuid() == 0 and path.stat().st_uid != (owner := path.parent.stat()).st_uid:
        os.chown(path, owner.st_uid, owner.st_gid)
    connection = sqlite3.connect(path, timeout=_TIMEOUT, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found < version:
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
