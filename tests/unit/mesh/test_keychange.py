"""A switch of the node's own key: taken back for whoever does not know it, and at any fault."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from edgenode import durable
from edgenode.mesh import KeyFileError, Mesh, MeshError, MeshUnavailable, Observed, PeerStatus
from edgenode.mesh.keychange import (
    Outcome,
    change,
    former_file,
    next_file,
    prepare,
    switch,
    switch_back,
)
from edgenode.mesh.keys import load_or_create, load_preshared

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


@pytest.fixture
def nobody(path: Path) -> Iterator[None]:
    """In the place of whoever runs the tests."""
    was, mode = os.geteuid(), path.parent.stat().st_mode
    path.parent.chmod(0)
    if was == 0:
        os.seteuid(65534)
    yield
    os.seteuid(was)
    path.parent.chmod(mode)


@pytest.mark.parametrize(
    "act",
    [switch, switch_back, prepare, load_or_create, load_preshared],
    ids=lambda act: act.__name__,
)
def test_who_may_not_look_is_asked_whether_he_is_root(
    path: Path, nobody: None, act: Callable[[Path], object]
) -> None:
    with pytest.raises(KeyFileError, match="Permission denied: are you root") as told:
        act(path)
    assert "genkey" not in str(told.value)
    assert "genpsk" not in str(told.value)


def test_a_switch_that_was_cut_short_is_made_again_and_no_key_is_lost(path: Path) -> None:
    """Killed between its two steps: the present key is the former one, too."""
    old, new = load_or_create(path).public, prepare(path).public
    os.link(path, former_file(path))
    fake = Fake(path, {new: {"fra"}, old: {"fra"}})
    with pytest.raises(KeyFileError, match="is the key in place: a switch was interrupted"):
        switched(fake, back=True)
    assert keys(path) == (old, new, old)
    assert switched(fake).public_key == new
    assert keys(path) == (new, None, old)
    os.link(path, next_file(path))  # and the way back, cut short
    with pytest.raises(KeyFileError, match="is the key in place: a switch was interrupted"):
        switched(fake)
    fake.ensured.clear()
    assert switched(fake, back=True).public_key == old
    assert keys(path) == (old, new, None)
    assert len(list(path.parent.iterdir())) == 2, "no copy of a secret key is left behind"


def test_a_full_disk_moves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = load_or_create(path).public, prepare(path).public
    path.with_suffix(".pub").write_text(old + "\n")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable, "replace", full)
    fake = Fake(path, {new: {"fra"}, old: {"fra"}})
    with pytest.raises(KeyFileError, match="No space left"):
        switched(fake)
    assert keys(path) == (old, new, None)
    assert fake.ensured == []


def test_the_way_back_writes_over_no_key_that_was_prepared_since(path: Path) -> None:
    old, new = load_or_create(path).public, prepare(path).public
    fake = Fake(path, {new: {"fra"}, old: {"fra"}})
    switched(fake)
    third = prepare(path).public
    with pytest.raises(KeyFileError, match="was prepared since the last switch"):
        switched(fake, back=True)
    assert keys(path) == (new, third, old)
    next_file(path).unlink()
    fake.ensured.clear()
    assert switched(fake, back=True).public_key == old
