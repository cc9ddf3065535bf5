"""`edgenode system`: what it says and refuses, with a small disk in the place of the node's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from edgenode.cli import options, system
from edgenode.cli.app import app
from edgenode.system import departure, install, machine, source
from edgenode.system.errors import UpdateError
from edgenode.system.gpt import ROOT, ROOT_VERITY, Partition
from edgenode.system.machine import Machine
from edgenode.system.manifest import Release
from tests.unit.system.test_gpt import table

A, B = UUID(int=1), UUID(int=2)
NEWER = Release("1.1", "0" * 64, A, B)


class Node:
    """Version 1.0 runs; `said` is what was done."""

    def __init__(self, directory: Path) -> None:
        self.kernels = directory / "esp"
        self.kernels.mkdir()
        self.disk = directory / "disk"
        self.said: list[str] = []
        self.slots("1.0", None)
        (self.kernels / "edgenode_1.0.efi").touch()

    def slots(self, *versions: str | None) -> None:
        parts = []
        for number, version in enumerate(versions):
            label = f"root_{version}" if version else "_empty"
            parts.append(Partition(ROOT, A, label, (1 + 4 * number) << 20, 1 << 20))
            parts.append(Partition(ROOT_VERITY, B, label, (3 + 4 * number) << 20, 1 << 20))
        self.disk.write_bytes(table(parts, 512))


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    made = Node(tmp_path)
    monkeypatch.setattr(options._Output, "written", False)
    running = Machine("1.0", made.disk, made.kernels)
    monkeypatch.setattr(machine, "this", lambda: running)
    monkeypatch.setattr(machine, "STATE", tmp_path / "state")
    monkeypatch.setattr(source, "offered", lambda _: {"1.1": NEWER})
    monkeypatch.setattr(system, "_record", lambda _: made.said.append("recorded"))

    def installed(_: Machine, release: Any, where: str) -> bool:
        made.said.append(f"{where} {release.version}")
        return True

    monkeypatch.setattr(install, "install", installed)
    monkeypatch.setattr(departure, "leave", lambda: made.said.append("reboot"))
    return made


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["--config", "/absent/edgenode.toml", "system", *arguments])


def test_status(node: Node) -> None:
    done = run("status", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["running"] == "1.0"
    assert [(slot["version"], slot["state"]) for slot in told["slots"]] == [
        ("1.0", "good"),
        (None, "empty"),
    ]
    assert "good" in run("status").stdout


def test_no_appliance() -> None:
    done = run("status")
    assert done.exit_code == 1
    assert "this is no appliance" in done.output


def test_what_worked_is_recorded_before_anything_is_written(node: Node) -> None:
    done = run("update", "--source", "/srv", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"version": "1.1", "result": "installed"}
    assert node.said == ["recorded", "file:///srv 1.1"]


def test_a_node_that_is_not_provisioned_needs_no_drain(node: Node) -> None:
    done = run("update", "--source", "/srv", "--reboot")
    assert done.exit_code == 0, done.output
    assert node.said[-1] == "reboot"


def test_two_at_once_are_refused(node: Node) -> None:
    with machine.locked(machine.STATE):
        done = run("update", "--source", "/srv")
    assert done.exit_code == 1
    assert "another `edgenode system` is at work" in done.output
    assert node.said == []


def test_a_version_that_is_not_there_is_not_rebooted_into(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bool:
        raise UpdateError("1.1 was written, and is not what the source has")

    monkeypatch.setattr(install, "install", fails)
    done = run("update", "--source", "/srv", "--reboot")
    assert done.exit_code == 1
    assert "reboot" not in node.said


def test_rollback_marks_what_runs_and_reboots(node: Node) -> None:
    node.slots("1.0", "0.9")
    (node.kernels / "edgenode_0.9.efi").touch()
    done = run("rollback")
    assert done.exit_code == 0, done.output
    assert node.said == ["reboot"]
    assert sorted(path.name for path in node.kernels.iterdir()) == [
        "edgenode_0.9.efi",
        "edgenode_1.0+0-1.efi",
    ]


def test_without_a_way_back_nothing_is_marked(node: Node) -> None:
    done = run("rollback", "--json")
    assert done.exit_code == 1
    # Older libraries' runner has what went to standard error in there, too.
    told = json.loads(done.stdout[done.stdout.index("{") :])
    assert "the other slot is empty" in told["error"]
    assert [path.name for path in node.kernels.iterdir()] == ["edgenode_1.0.efi"]
