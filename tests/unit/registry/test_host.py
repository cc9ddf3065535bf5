"""A worker's host: who it is, whether it drains, how busy it is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgenode.registry.busy import LoadError, busy
from edgenode.registry.hoststate import HostState, HostStateError


def test_an_identity_is_made_once(tmp_path: Path) -> None:
    one, other = HostState(tmp_path / "a"), HostState(tmp_path / "b")
    assert one.identity() == one.identity() == HostState(tmp_path / "a").identity()
    assert one.identity() != other.identity()


@pytest.mark.parametrize("text", [b"", b"short", b"\xff" * 20, b"two words here", b"x" * 65])
def test_a_damaged_identity_is_not_replaced_unasked(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "identity").write_bytes(text)
    with pytest.raises(HostStateError, match=r"identity"):
        HostState(tmp_path).identity()
    assert (tmp_path / "identity").read_bytes() == text


def test_a_drain_is_remembered(tmp_path: Path) -> None:
    state = HostState(tmp_path / "new")
    assert not state.draining
    state.drain(False)
    state.drain(True)
    assert HostState(tmp_path / "new").draining
    state.drain(False)
    assert not HostState(tmp_path / "new").draining


def test_who_may_not_write_is_told_what_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, *more: object) -> None:
        raise PermissionError(13, "Permission denied", f"{path}.new")

    monkeypatch.setattr("edgenode.durable.replace", denied)
    with pytest.raises(HostStateError) as caught:
        HostState(tmp_path).drain(True)
    said = f"{tmp_path}/draining cannot be written: Permission denied: are you root?"
    assert str(caught.value) == said


def test_one_join_a_host(tmp_path: Path) -> None:
    held = HostState(tmp_path).hold()
    assert held is not None
    assert HostState(tmp_path).hold() is None
    os.close(held)
    again = HostState(tmp_path).hold()
    assert again is not None
    os.close(again)


async def test_how_busy_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await busy(()) >= 0
    assert await busy(("/bin/echo", "0.75 of it")) == 0.75
    monkeypatch.setattr("edgenode.registry.busy.PATIENCE", 0.2)
    for command, said in (
        (("/bin/echo", "nan"), "did not print a number"),
        (("/bin/echo", "-1"), "did not print a number"),
        (("/bin/echo",), "did not print a number"),
        (("/bin/false",), "ended with status 1"),
        (("/nowhere/at/all",), "No such file"),
        (("/bin/sleep", "60"), "took more than 0.2 s"),
    ):
        begun = time.monotonic()
        with pytest.raises(LoadError, match=said):
            await busy(command)
        assert time.monotonic() - begun < 5
