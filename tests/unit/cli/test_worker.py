"""`edgenode worker` where things are not as they should be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgenode.cli.app import app
from edgenode.registry.hoststate import HostState
from tests.unit.config.test_workerhost import PLAIN


@pytest.fixture
def config(tmp_path: Path) -> str:
    """An etcd at which nobody answers."""
    path = tmp_path / "worker.toml"
    text = PLAIN.replace("[registry]", f'state_dir = "{tmp_path}/state"\n[registry]')
    path.write_text(text.replace("https://etcd1.example.net:2379", "http://127.0.0.1:1"))
    return str(path)


def test_a_drain_without_etcd_is_remembered(config: str, tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["worker", "drain", "--config", config])
    assert found.exit_code == 1
    assert "http://127.0.0.1:1: Connection refused; it" in found.output
    assert "it is remembered here all the same" in found.output
    assert HostState(tmp_path / "state").draining


def test_errors_for_programs(config: str) -> None:
    found = CliRunner().invoke(app, ["worker", "leave", "--config", config, "--json"])
    assert found.exit_code == 1
    told = found.stdout[found.stdout.index("{") :]  # an older click mixes in what is for people
    assert "Connect" in json.loads(told)["error"]


def test_half_an_identity_is_none(config: str) -> None:
    for some in (["--name", "fra-1"], ["--region", "fra", "--name", "fra-1"], ["--identity", "x"]):
        found = CliRunner().invoke(app, ["worker", "leave", "--config", config, *some])
        assert (found.exit_code, "go together" in found.output) == (2, True)


def test_it_leaves_by_itself_where_join_runs(config: str, tmp_path: Path) -> None:
    held = HostState(tmp_path / "state").hold()
    assert held is not None
    for command, said in (("leave", "stop it"), ("join", "another edgenode worker join runs")):
        found = CliRunner().invoke(app, ["worker", command, "--config", config])
        assert (found.exit_code, said in found.output) == (1, True)
    os.close(held)


def test_a_wrong_configuration(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["worker", "join", "--config", str(tmp_path / "none.toml")])
    assert (found.exit_code, "cannot be read" in found.output) == (2, True)


def test_help_says_the_exit_statuses() -> None:
    for command in ("join", "drain", "undrain", "leave"):
        found = CliRunner().invoke(app, ["worker", command, "--help"])
        assert (found.exit_code, "Exit status: " in found.output) == (0, True), command
