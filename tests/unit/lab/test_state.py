"""A lab that is written down is read back the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgenode.lab import delays, state
from edgenode.lab.errors import LabError
from edgenode.lab.nodes.edge import Settings
from edgenode.lab.process import Command
from edgenode.lab.topology import Layout, plan


def test_round_trip(tmp_path: Path) -> None:
    command = Command(("bird", "-f"), "edgenode-x-lon", "lon/bird", Path("/x/bird.log"), {"A": "b"})
    topology = plan(delays.built_in(), Layout(users=("par",)))
    before = state.State(
        topology,
        Settings(grace=3.0),
        netem=True,
        up=True,
        daemons={"lon": {"bird": state.Daemon(command, 17)}},
    )
    (tmp_path / "x").mkdir()
    before.save(tmp_path / "x")
    after = state.load("x", tmp_path)
    assert after == before
    assert state.known(tmp_path / "absent", tmp_path) == ["x"]


def test_what_is_not_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="there is no lab 'x'"):
        state.load("x", tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "state.json").write_text('{"delays": 1}')
    with pytest.raises(LabError, match="remove the lab with `edgenode lab down`"):
        state.load("x", tmp_path)


def test_labs_are_known_by_their_namespaces_too(tmp_path: Path) -> None:
    for name in ("edgenode-a-lon1", "edgenode-a-lon", "edgenode-bc-x", "other", "edgenode-a-b-c"):
        (tmp_path / name).touch()
    assert state.known(tmp_path, tmp_path / "absent") == ["a", "bc"]
