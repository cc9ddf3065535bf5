"""The state: intents outlast a restart, the journal is bounded and never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgenode.state import Event, Intent, IntentKind, Intents, Journal, StateError


def test_an_intent_outlasts_its_process(tmp_path: Path) -> None:
    first = Intents(tmp_path)
    first.put(Intent("web", IntentKind.DRAINED, 5.0, "rack move"))
    second = Intents(tmp_path)
    assert second.all() == {"web": Intent("web", IntentKind.DRAINED, 5.0, "rack move")}
    second.clear("web", "never-there")
    assert first.all() == {}
    assert (tmp_path / "state.sqlite").stat().st_mode & 0o777 == 0o600


def test_an_intent_of_a_newer_version_reads_as_withdrawn(tmp_path: Path) -> None:
    intents = Intents(tmp_path)
    intents._connection.execute("INSERT INTO intents VALUES ('web', 'levitating', 1.0, 'x')")
    assert intents.all()["web"].kind is IntentKind.WITHDRAWN


def test_the_journal_keeps_the_newest(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_events=10)
    for number in range(50):
        journal.record(Event(float(number), "verdict", "nginx", f"event {number}"))
    journal.close()
    events = Journal(tmp_path).newest(100)
    assert [event.text for event in events] == [f"event {n}" for n in range(40, 50)]


def test_a_journal_that_cannot_write_counts_and_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal._connection.execute("PRAGMA query_only = 1")
    journal.record(Event(1.0, "verdict", "nginx", "x"))
    journal.close()
    assert journal.lost == 1


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be opened"):
        Intents(tmp_path / "file" / "below")
