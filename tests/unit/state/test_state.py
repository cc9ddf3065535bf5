"""The state: intents outlast a restart, the journal is bounded and never in the way."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgenode.state import Event, Intent, IntentKind, Intents, Journal, StateError, newest

DRAINED = Intent("web", IntentKind.DRAINED, 5.0, "rack move")
EVENT = Event(1.0, "verdict", "nginx", "x")


def test_an_intent_outlasts_its_process(tmp_path: Path) -> None:
    first = Intents(tmp_path)
    assert first.all() == {}
    first.put(DRAINED)
    second = Intents(tmp_path)
    assert second.all() == {"web": DRAINED}
    second.clear("web", "never-there")
    assert first.all() == {}
    assert (tmp_path / "intents.sqlite").stat().st_mode & 0o777 == 0o600


def test_an_intent_of_a_newer_version_reads_as_withdrawn(tmp_path: Path) -> None:
    intents = Intents(tmp_path)
    intents.put(DRAINED)
    with sqlite3.connect(tmp_path / "intents.sqlite") as connection:
        connection.execute("UPDATE intents SET kind = 'levitating'")
    assert intents.all()["web"].kind is IntentKind.WITHDRAWN


def test_intents_can_be_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    Intents(tmp_path).put(DRAINED)
    # The disk is full: RLIMIT_FSIZE of 0 makes each write to a file fail (and no root above it).
    program = (
        "import resource, signal, sys; from pathlib import Path;"
        "from edgenode.state import *;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
        "intents = Intents(Path(sys.argv[1])); print(list(intents.all()));"
        "journal = Journal(Path(sys.argv[1]));"
        "journal.record(Event(1.0, 'k', 's', 't')); journal.close(); print(journal.lost)\n"
        "try: intents.put(Intent('dns', IntentKind.DRAINED, 1.0, ''))\n"
        "except StateError as error: print('refused')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=20
    )
    assert shown.stdout.splitlines() == ["['web']", "1", "refused"], shown.stderr
    assert list(Intents(tmp_path).all()) == ["web"]


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
