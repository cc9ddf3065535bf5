"""The SQLite file: schema, and how it is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS intents (
    "group" TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    since REAL NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    text TEXT NOT NULL
);
"""


class StateError(Exception):
    """The state cannot be used; the text says which file and what to do."""


def open_database(state_dir: Path) -> sqlite3.Connection:
    """Open or make ``state.sqlite`` in the state directory, mode 0600. Raises StateError.

    Several processes may have it open (control, and the command when control is dead).
    """
    path = state_dir / "state.sqlite"
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=2.0, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        # With WAL, NORMAL survives a crash of ours whole; a power cut may lose the newest rows,
        # which is right for history. Intents ask for FULL where they are written.
        connection.execute("PRAGMA synchronous = NORMAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version < SCHEMA_VERSION:
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.commit()
    except (OSError, sqlite3.Error) as error:
        raise StateError(f"the state in {path} cannot be opened: {error}") from None
    return connection
