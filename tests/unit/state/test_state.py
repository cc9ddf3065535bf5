"""The state: intents outlast a restart, the journal is bounded and never in the way."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgenode.state import (
    NODE,
    Event,
    Intent,
    IntentKind,
    Intents,
    Journal,
    StateError,
    Wanted,
    newest,
)

DRAINED = Intent("web", IntentKind.DRAINED, 5.0, "rack move")
EVENT = Event(1.0, "verdict", "nginx", "x")


def test_an_intent_outlasts_its_process(tmp_path: Path) -> None:
    first = Intents(tmp_path)
    assert first.all() == {}
    first.put(DRAINED)
    second = Intents(tmp_path)
    assert second.all() == {("web", ""): DRAINED}
    second.clear(("web", ""), ("never-there", ""))
    assert first.all() == {}
    assert (tmp_path / "intents.sqlite").stat().st_mode & 0o777 == 0o600


def test_an_intent_of_a_newer_version_reads_as_withdrawn(tmp_path: Path) -> None:
    intents = Intents(tmp_path)
    intents.put(DRAINED)
    with sqlite3.connect(tmp_path / "intents.sqlite") as connection:
        connection.execute("UPDATE intents SET kind = 'levitating'")
    assert intents.all()["web", ""].kind is IntentKind.WITHDRAWN


def test_intents_can_be_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    Intents(tmp_path).put(DRAINED)
    # The disk is full: RLIMIT_FSIZE of 0 makes each write to a file fail (and no root above it).
    program = (
        "import resource, signal, sys; from pathlib import Path;"
        "from edgenode.state import *;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
        "intents = Intents(Path(sys.argv[1])); print([group for group, _ in intents.all()]);"
        "journal = Journal(Path(sys.argv[1]));"
        "journal.record(Event(1.0, 'k', 's', 't')); journal.close(); print(journal.lost)\n"
        "try: intents.put(Intent('dns', IntentKind.DRAINED, 1.0, ''))\n"
        "except StateError as error: print('refused')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=20
    )
    assert shown.stdout.splitlines() == ["['web']", "1", "refused"], shown.stderr
    assert list(Intents(tmp_path).all()) == [("web", "")]


def test_damaged_intents_are_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "intents.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StateError, match=r"intents\.sqlite .* forget every drain and withdraw"):
        Intents(tmp_path)


def test_intents_whose_maker_was_killed_at_once_are_none(tmp_path: Path) -> None:
    (tmp_path / "intents.sqlite").touch()
    assert Intents(tmp_path).all() == {}


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be read"):
        Intents(tmp_path / "file" / "below")


def test_the_journal_keeps_the_newest(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_events=10)
    for number in range(50):
        journal.record(Event(float(number), "verdict", "nginx", f"event {number}"))
    journal.close()
    events = newest(tmp_path, 100)
    assert [event.text for event in events] == [f"event {n}" for n in range(40, 50)]
    assert (tmp_path / "history.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_journal_that_cannot_write_counts_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    journal = Journal(tmp_path / "file" / "below")
    journal.record(EVENT)
    journal.close()
    assert journal.lost == 1


def test_a_damaged_journal_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StateError, match="cannot be read"):
        newest(tmp_path, 1)
    journal = Journal(tmp_path)
    journal.record(EVENT)
    journal.close()
    assert journal.lost == 0
    assert newest(tmp_path, 5) == [EVENT]
    assert path.with_suffix(".damaged").exists()
    Intents(tmp_path).put(DRAINED)  # what befalls the one is nothing to the other


def test_looking_makes_nothing(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(StateError, match="there is no history"):
        newest(tmp_path / "absent", 5)
    assert threading.active_count() == before
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_root_stores_first_belongs_to_controls_user(tmp_path: Path) -> None:
    state = tmp_path / "control"
    state.mkdir(mode=0o700)
    os.chown(state, 4711, 4712)
    Intents(state).put(DRAINED)
    found = (state / "intents.sqlite").stat()
    assert (found.st_uid, found.st_gid) == (4711, 4712)


def test_all_that_belongs_to_an_intent_is_kept(tmp_path: Path) -> None:
    several = [
        Intent("web", IntentKind.MAINTENANCE, 1.0, "fans", until=99.0, author="ann"),
        Intent("web", IntentKind.DEGRADED, 2.0, "loss", "transit-a", author="bob"),
        Intent("web", IntentKind.DEGRADED, 3.0, "loss", "transit-b"),
        Intent(NODE, IntentKind.PAUSED, 4.0, "", author="cyd"),
        Intent(NODE, IntentKind.MAINTENANCE, 5.0, "rack"),
    ]
    Intents(tmp_path).put(*several)
    assert Intents(tmp_path).all() == {intent.key: intent for intent in several}
    Intents(tmp_path).clear(("web", "transit-a"), (NODE, "paused"))
    assert list(Intents(tmp_path).all().values()) == [several[0], several[2], several[4]]


OLD_SCHEMA = """
CREATE TABLE IF NOT EXISTS intents (
    "group" TEXT PRIMARY KEY, kind TEXT NOT NULL, since REAL NOT NULL, reason TEXT NOT NULL
); PRAGMA user_version = 1;
"""
OLD_READ = 'SELECT "group", kind, since, reason FROM intents'
OLD_WRITE = "INSERT OR REPLACE INTO intents VALUES (?, ?, ?, ?)"


def test_a_file_of_the_version_before_is_opened(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "intents.sqlite") as connection:
        connection.executescript(OLD_SCHEMA)
        connection.execute(OLD_WRITE, ("web", "drained", 1.0, "rack"))
    old = Intent("web", IntentKind.DRAINED, 1.0, "rack")
    assert Intents(tmp_path).all() == {old.key: old}
    new = Intent("web", IntentKind.DEGRADED, 2.0, "", "transit")
    Intents(tmp_path).put(new)
    assert Intents(tmp_path).all() == {old.key: old, new.key: new}


def test_the_version_before_reads_and_writes_our_file(tmp_path: Path) -> None:
    Intents(tmp_path).put(
        Intent("web", IntentKind.DRAINED, 1.0, "rack", until=99.0, author="ann"),
        Intent("web", IntentKind.DEGRADED, 2.0, "loss", "transit"),
        Intent("static", IntentKind.WITHDRAWN, 3.0, "fire"),
        Intent(NODE, IntentKind.PAUSED, 4.0, ""),
    )
    with sqlite3.connect(tmp_path / "intents.sqlite") as connection:
        assert connection.execute(OLD_READ).fetchall() == [
            ("web", "drained", 1.0, "rack"),
            ("static", "withdrawn", 3.0, "fire"),
        ]
        connection.execute(OLD_WRITE, ("web", "withdrawn", 5.0, "worse"))
        connection.execute('DELETE FROM intents WHERE "group" = ?', ("static",))
    found = Intents(tmp_path).all()
    assert found["web", ""] == Intent("web", IntentKind.WITHDRAWN, 5.0, "worse")
    assert ("static", "") not in found
    assert ("web", "transit") in found


def test_an_end_belongs_to_the_one_intent_that_had_it(tmp_path: Path) -> None:
    Intents(tmp_path).put(Intent("web", IntentKind.DRAINED, 1.0, "", until=99.0, author="ann"))
    with sqlite3.connect(tmp_path / "intents.sqlite") as connection:  # the version before
        connection.execute(OLD_WRITE, ("web", "drained", 5.0, "again"))
    assert Intents(tmp_path).all()["web", ""] == Intent("web", IntentKind.DRAINED, 5.0, "again")


def test_history_is_filtered(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for at, kind, subject in [
        (1.0, "check", "nginx"),
        (2.0, "group", "web"),
        (3.0, "check", "web"),
        (4.0, "intent", "*"),
        (5.0, "group", "static"),
    ]:
        journal.record(Event(at, kind, subject, ""))
    journal.close()

    def found(wanted: Wanted, count: int = 10) -> list[float]:
        return [event.at for event in newest(tmp_path, count, wanted)]

    assert found(Wanted(since=3.0)) == [3, 4, 5]
    assert found(Wanted(kinds=("group", "intent"))) == [2, 4, 5]
    assert found(Wanted(subjects=(("", "web"), ("check", "nginx"), ("intent", "*")))) == [
        1,
        2,
        3,
        4,
    ]
    assert found(Wanted(subjects=(("group", "web"),))) == [2]
    assert found(Wanted(since=2.0, kinds=("group",), subjects=(("", "web"),))) == [2]
    assert found(Wanted(), 2) == [4, 5]
