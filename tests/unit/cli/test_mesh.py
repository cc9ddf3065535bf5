"""`edgenode mesh`: what works before a node is provisioned, and what is said of it."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgenode.cli.app import app
from edgenode.mesh import keychange
from edgenode.mesh.keys import load_or_create
from tests.unit.cli.test_command import config, edgenode

__all__ = ["config"]


def test_the_key_before_there_is_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "state" / "control" / "wireguard.key"
    first = edgenode("mesh", "key", "--private-key-file", str(file))
    assert first.returncode == 0, first.stderr
    assert first.stdout == load_or_create(file).public + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    again = edgenode("mesh", "key", "--json", "--private-key-file", str(file))
    said = json.loads(again.stdout)
    assert said == {"public_key": first.stdout.strip()}


def test_the_key_of_the_configuration(config: Path, tmp_path: Path) -> None:
    shown = edgenode("mesh", "key", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    file = tmp_path / "state" / "control" / "wireguard.key"
    assert shown.stdout == load_or_create(file).public + "\n"


def test_a_damaged_key_is_one_sentence_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "wireguard.key"
    file.write_text("damaged")
    file.chmod(0o600)
    shown = edgenode("mesh", "key", "--private-key-file", str(file))
    assert shown.returncode == 1
    assert "is damaged" in shown.stderr
    assert "Traceback" not in shown.stderr
    assert file.read_text() == "damaged"


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give a file away")
def test_a_key_that_root_makes_is_for_the_owner_of_its_directory(tmp_path: Path) -> None:
    os.chown(tmp_path, 4242, 4343)
    shown = edgenode("mesh", "key", "--private-key-file", str(tmp_path / "wireguard.key"))
    assert shown.returncode == 0, shown.stderr
    made = (tmp_path / "wireguard.key").stat()
    assert (made.st_uid, made.st_gid) == (4242, 4343)


def test_without_a_mesh_there_is_nothing_to_bring_up(config: Path) -> None:
    # A steered service needs a mesh: both go, and the regions with them.
    config.write_text(config.read_text().partition("[[services]]")[0])
    shown = edgenode("mesh", "up", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == "There is no [mesh] to bring up.\n"


def test_the_next_key_is_made_beside_the_present_one(config: Path, tmp_path: Path) -> None:
    present = edgenode("mesh", "key", "--config", str(config)).stdout.strip()
    early = edgenode("mesh", "switch-key", "--config", str(config))
    assert early.returncode == 1
    assert "there is no next key" in early.stderr
    coming = edgenode("mesh", "next-key", "--config", str(config), "--json")
    assert coming.returncode == 0, coming.stderr
    file = tmp_path / "state" / "control" / "wireguard.key.next"
    assert json.loads(coming.stdout) == {"next_public_key": load_or_create(file).public}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert edgenode("mesh", "key", "--config", str(config)).stdout.strip() == present


def test_a_terminal_that_goes_away_takes_the_switch_back(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the SSH session of an operator whose way here was the tunnel."""
    ended: list[signal.Signals] = []
    numbers = (signal.SIGHUP, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    for number in numbers:

        def change(*_: object, number: signal.Signals = number, **__: object) -> None:
            try:
                signal.raise_signal(number)
            except KeyboardInterrupt:  # here the former key comes back
                ended.append(number)
                raise

        monkeypatch.setattr(keychange, "change", change)
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        CliRunner().invoke(app, ["mesh", "switch-key", "--config", str(config)])
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    assert ended == [*numbers]
