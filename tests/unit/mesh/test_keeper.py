"""Control's keeper of the mesh: a mesh that lacks something is mended at once."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from edgenode.config import Config
from edgenode.control import mesh as keeping
from edgenode.mesh import Observed
from edgenode.mesh.state import Change, SetUp


class SeenEnough(Exception):
    pass


class Restarted:
    """A mesh whose device is made anew at the third look."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.whole = True

    def ensure(self) -> tuple[Change, ...]:
        self.calls.append("ensure")
        self.whole = True
        return (SetUp(),)

    def observe(self) -> Observed:
        self.calls.append("observe")
        if self.calls.count("observe") == 5:
            raise SeenEnough
        self.whole = self.whole and self.calls.count("observe") != 3
        return Observed((), self.whole)


async def test_it_is_ensured_as_soon_as_something_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh = Restarted()
    monkeypatch.setattr(keeping, "Mesh", lambda *_: mesh)
    monkeypatch.setattr(keeping, "OBSERVE", 0.01)
    config = SimpleNamespace(mesh=SimpleNamespace(device="wgx"), private_key_file=Path("key"))
    notes: list[str] = []
    keeper = keeping.MeshKeeper(cast(Config, config), lambda *note: notes.append(note[2]))
    with pytest.raises(SeenEnough):
        await asyncio.wait_for(keeper.run(), 5)
    wanted = ["ensure", "observe", "observe", "observe", "ensure", "observe", "observe"]
    assert mesh.calls == wanted
    assert notes == ["1 changes made"] * 2
