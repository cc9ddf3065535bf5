"""A version that was rolled back to opens what the newer one left."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edgenode.state import Event, Intent, IntentKind, Intents, Journal, newest
from edgenode.state.database import open_to_write
from edgenode.state.penalties import Moment, Penalties, Row
from edgenode.state.registrycopy import Copy, RegistryCopy, Stored

INTENT = Intent("web", IntentKind.DRAINED, 5.0, "rack move")
LATER = Intent("dns", IntentKind.WITHDRAWN, 6.0, "fire")


def newer(path: Path, *statements: str) -> None:
    """What a newer version does to a file."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in (*statements, "PRAGMA user_version = 99"):
            connection.execute(statement)


def test_what_a_newer_version_added_is_in_nobodys_way(tmp_path: Path) -> None:
    Intents(tmp_path).put(INTENT)
    newer(
        tmp_path / "intents.sqlite",
        "ALTER TABLE intents ADD COLUMN ticket TEXT",
        "ALTER TABLE wishes ADD COLUMN weight REAL NOT NULL DEFAULT 1",
        "CREATE TABLE moods (mood TEXT)",
        "UPDATE intents SET ticket = 'T-1'",
    )
    intents = Intents(tmp_path)
    intents.put(LATER)
    assert intents.all() == {INTENT.key: INTENT, LATER.key: LATER}
    assert not list(tmp_path.glob("*.v*"))


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE intents RENAME TO desires",
        "ALTER TABLE intents RENAME COLUMN kind TO sort",
        "ALTER TABLE wishes DROP COLUMN author",
    ],
)
def test_what_is_of_no_use_is_kept_and_our_own_is_taken_again(tmp_path: Path, change: str) -> None:
    path = tmp_path / "intents.sqlite"
    Intents(tmp_path).put(INTENT)
    open_to_write(path, "CREATE TABLE more (x TEXT)", 98).close()  # the newer version's start
    newer(path, change)
    intents = Intents(tmp_path)
    assert intents.all() == {INTENT.key: INTENT}, "a drain of before the update still holds"
    intents.put(LATER)
    assert LATER.key in Intents(tmp_path).all()
    assert (tmp_path / "intents.sqlite.v99").exists()
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_our_own_it_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "intents.sqlite"
    Intents(tmp_path).put(INTENT)
    newer(path, "DROP TABLE intents")
    assert Intents(tmp_path).all() == {}
    assert (tmp_path / "intents.sqlite.v99").exists()


def test_a_column_that_must_have_a_value_is_none_of_ours(tmp_path: Path) -> None:
    Intents(tmp_path).put(INTENT)
    newer(
        tmp_path / "intents.sqlite",
        "DROP TABLE intents",
        'CREATE TABLE intents ("group" TEXT, kind TEXT, since REAL, reason TEXT, x TEXT NOT NULL)',
    )
    Intents(tmp_path).put(LATER)
    assert Intents(tmp_path).all() == {LATER.key: LATER}


def test_the_other_files_too(tmp_path: Path) -> None:
    event = Event(1.0, "verdict", "nginx", "x")
    row = Row("web", 1.0, None, "normal", Moment(1.0, 1.0))
    copy = Copy("/p", "c", 7, 1.0, [Stored("k", b"v", 1, 2)])
    for change in (("ALTER TABLE {} ADD COLUMN new TEXT",), ("DROP TABLE {}",)):
        for path in tmp_path.iterdir():
            path.unlink()
        _store(tmp_path, event, row, copy)
        for file, table in (
            ("history", "events"),
            ("damping", "penalties"),
            ("registry", "records"),
        ):
            newer(tmp_path / f"{file}.sqlite", *(each.format(table) for each in change))
        _store(tmp_path, event, row, copy)
        assert newest(tmp_path, 1) == [event]
        assert Penalties(tmp_path).all() == {"web": row}
        assert RegistryCopy(tmp_path).load() == copy


def _store(directory: Path, event: Event, row: Row, copy: Copy) -> None:
    journal = Journal(directory)
    journal.record(event)
    journal.close()
    assert journal.lost == 0
    assert Penalties(directory).put([row])
    RegistryCopy(directory).store(copy)
