"""`apply` means the very text that control reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgenode.control.texts import digest
from tests.unit.cli import fakes
from tests.unit.cli.test_acting import config as config
from tests.unit.cli.test_command import edgenode

ANSWER: dict[str, Any] = {
    "difference": [],
    "notes": [],
    "applied": True,
    "confirm_within_s": None,
}


def test_the_digest_is_of_the_text_as_it_is(config: Path, tmp_path: Path) -> None:
    text = config.read_text().replace("\n", "\r\n")
    config.write_bytes(text.encode())
    told: list[Any] = []

    def answer(body: Any) -> dict[str, Any]:
        told.append(body)
        return ANSWER

    with fakes.control(tmp_path / "run" / "control" / "control.sock", answer):
        shown = edgenode("apply", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert told == [{"digest": digest(text), "confirm": None, "dry_run": False}]


def test_what_became_of_a_trial_is_said(config: Path, tmp_path: Path) -> None:
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: {}):
        assert edgenode("confirm", "--config", str(config)).stdout.startswith("Kept")
        assert edgenode("undo", "--config", str(config)).stdout.startswith("Undone")
        assert edgenode("undo", "--json", "--config", str(config)).stdout == "{}\n"
