"""A switch of the node's own key: taken back for whoever does not know it, and at any fault."""

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from edgenode.mesh import KeyFileError, Mesh, MeshError, MeshUnavailable, Observed, PeerStatus
from edgenode.mesh.keychange import Outcome, change, former_file, next_file, prepare
from edgenode.mesh.keys import load_or_create

LIVE = PeerStatus("fra", 50.0, 1, 1, "192.0.2.10:51820", keepalive=True)
DEAD = replace(LIVE, name="iad", handshake_age=None)


class Fake:
    """A mesh whose peers know some keys."""

    def __init__(self, path: Path, knows: dict[str, set[str]]) -> None:
        self.path, self.knows = path, knows
        self.ensured: list[str] = []
        self.fault: MeshError | None = None

    @property
    def public_key(self) -> str:
        return load_or_create(self.path).public

    def ensure(self, endpoints: Any) -> tuple[()]:
        self.ensured.append(self.public_key)
        if self.fault and len(self.ensured) == 1:
            raise self.fault
        return ()

    def observe(self) -> Observed:
        if not self.ensured:
            return Observed((LIVE, DEAD), True)
        knows = self.knows[self.ensured[-1]]
        return Observed(
            tuple(
                replace(peer, handshake_age=0.0 if peer.name in knows else 60.0)
                for peer in (LIVE, DEAD)
            ),
            True,
        )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    load_or_create(tmp_path / "wireguard.key")
    return tmp_path / "wireguard.key"


def switched(fake: Fake, **options: Any) -> Outcome:
    return change(cast(Mesh, fake), fake.path, {}, patience=0.0, **options)


def keys(path: Path) -> tuple[str, str | None, str | None]:
    """The present one, the next and the former."""
    others = [
        load_or_create(f).public if f.exists() else None
        for f in (next_file(path), former_file(path))
    ]
    return load_or_create(path).public, others[0], others[1]


def test_there_and_back(path: Path) -> None:
    old, new = load_or_create(path).public, prepare(path).public
    assert keys(path) == (old, new, None)
    fake = Fake(path, {new: {"fra"}, old: {"fra"}})
    published = path.with_suffix(".pub")
    published.write_text(old + "\n")
    assert switched(fake) == Outcome(new, frozenset({"fra"}), frozenset(), undone=False)
    assert published.read_text() == new + "\n"
    assert keys(path) == (new, None, old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    fake.ensured.clear()
    assert switched(fake, back=True).public_key == old
    assert published.read_text() == old + "\n"
    assert keys(path) == (old, new, None)
    assert {file.name for file in path.parent.iterdir()} == {
        path.name,
        next_file(path).name,
        "wireguard.pub",
    }


def test_a_peer_that_does_not_know_it_has_it_taken_back(path: Path) -> None:
    old, new = load_or_create(path).public, prepare(path).public
    fake = Fake(path, {new: set(), old: {"fra"}})
    assert switched(fake) == Outcome(old, frozenset({"fra"}), frozenset({"fra"}), undone=True)
    assert fake.ensured == [new, old]
    assert keys(path) == (old, new, None)
    fake.ensured.clear()
    kept = switched(fake, keep=True)
    assert kept == Outcome(new, frozenset({"fra"}), frozenset({"fra"}), undone=False)


def test_at_a_fault_the_key_is_the_one_from_before(path: Path) -> None:
    old, new = load_or_create(path).public, prepare(path).public
    fake = Fake(path, {new: {"fra"}, old: {"fra"}})
    fake.fault = MeshUnavailable("wireguard-go does not answer")
    with pytest.raises(MeshUnavailable):
        switched(fake)
    assert keys(path) == (old, new, None)
    assert fake.ensured == [new, old]


def test_without_a_next_or_a_former_key_nothing_is_touched(path: Path) -> None:
    old = load_or_create(path).public
    fake = Fake(path, {old: {"fra"}})
    with pytest.raises(KeyFileError, match="edgenode mesh next-key"):
        switched(fake)
    with pytest.raises(KeyFileError, match="never switched"):
        switched(fake, back=True)
    next_file(path).write_text("damaged")
    next_file(path).chmod(0o600)
    with pytest.raises(KeyFileError, match="is damaged"):
        switched(fake)
    assert load_or_create(path).public == old
    assert fake.ensured == []
