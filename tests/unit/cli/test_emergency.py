"""`pause` and `resume` do what they say with control alive, dead, or on a full disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edgenode.state import NODE, Intent, IntentKind, Intents
from tests.unit.cli import fakes
from tests.unit.cli.test_acting import config as config
from tests.unit.cli.test_command import edgenode

PAUSE = ("pause", "--reason", "checker is wrong", "--author", "ann")


def paused(tmp_path: Path) -> Intent | None:
    return Intents(tmp_path / "state" / "control").all().get((NODE, IntentKind.PAUSED.value))


def test_with_control_dead_a_pause_is_stored_and_said_to_hold_little(
    config: Path, tmp_path: Path
) -> None:
    shown = edgenode(*PAUSE, "--for", "1h", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == "the pause is stored, and holds when control is back\n"
    assert "until then the lifeline alone decides" in shown.stderr
    stored = paused(tmp_path)
    assert stored
    assert (stored.author, stored.reason) == ("ann", "checker is wrong")
    assert stored.until
    assert abs(stored.until - time.time() - 3600) < 60
    shown = edgenode("resume", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert paused(tmp_path) is None


def test_a_living_control_is_told(config: Path, tmp_path: Path) -> None:
    told: list[Any] = []

    def answer(body: Any) -> dict[str, Any]:
        told.append(body)
        return fakes.status()

    (tmp_path / "state").write_text("no directory: nothing can be stored")
    with fakes.control(tmp_path / "run" / "control" / "control.sock", answer):
        assert edgenode(*PAUSE, "--config", str(config)).returncode == 0
        assert edgenode("resume", "--author", "bob", "--config", str(config)).returncode == 0
    assert [(body["groups"], body["kind"]) for body in told] == [(["*"], "paused"), (["*"], None)]
    assert told[1] == {"groups": ["*"], "kind": None, "only": "paused", "author": "bob"}


def test_what_nobody_took_is_a_failure(config: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no directory: nothing can be stored")
    shown = edgenode(*PAUSE, "--config", str(config))
    assert shown.returncode == 1
    assert "paused" not in shown.stdout
    assert "intents.sqlite" in shown.stderr
    assert "stored for the control" not in shown.stderr


def test_a_damaged_configuration_is_in_no_pauses_way(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace("asn = 64700", "asn = 0"))
    assert edgenode(*PAUSE, "--config", str(config)).returncode == 0
    assert paused(tmp_path)


def test_what_is_stored_is_one_line_for_any_terminal(config: Path, tmp_path: Path) -> None:
    odd = ("--reason", "two\nlines \x1b[31m", "--author", "a\tb")
    assert edgenode("pause", *odd, "--config", str(config)).returncode == 0
    stored = paused(tmp_path)
    assert stored
    assert (stored.reason, stored.author) == (r"two\nlines \x1b[31m", r"a\tb")


def test_an_end_in_the_past_or_twice_is_refused(config: Path, tmp_path: Path) -> None:
    for options in (["--until", "2001-01-01"], ["--for", "1h", "--until", "18:00"]):
        shown = edgenode(*PAUSE, *options, "--config", str(config))
        assert shown.returncode == 2, options
    assert not (tmp_path / "state").exists()
