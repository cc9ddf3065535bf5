"""The files of keys: taken up when they are replaced, and never a reason to disturb other peers."""

import base64
import pickle
from pathlib import Path

import pytest

from edgenode.config import MeshPeer
from edgenode.mesh import KeyFileError
from edgenode.mesh.keyfiles import KeyFiles
from edgenode.mesh.keys import PresharedKey, PrivateKey
from tests.unit.mesh.worlds import public_key

SECRETS = [base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2)]


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """As an operator's editor or Ansible does: beside it, and then in its place."""
    draft = path.with_suffix(".new")
    draft.write_text(text + "\n")
    draft.chmod(mode)
    draft.replace(path)


@pytest.fixture
def peers(tmp_path: Path) -> list[MeshPeer]:
    return [
        MeshPeer.model_validate(
            {
                "name": name,
                "public_key": public_key(n),
                "allowed": [f"198.51.100.{n}/32"],
                "preshared_key_file": tmp_path / f"{name}.psk",
            }
        )
        for n, name in enumerate(("fra", "iad"))
    ]


def test_a_replaced_file_is_taken_up(tmp_path: Path, peers: list[MeshPeer]) -> None:
    files = KeyFiles(tmp_path / "key")
    for peer in peers:
        write(tmp_path / f"{peer.name}.psk", SECRETS[0])
    first = files.preshared(peers)
    assert first == dict.fromkeys(("fra", "iad"), PresharedKey.from_base64(SECRETS[0]))
    assert not files.changed(peers)
    write(tmp_path / "iad.psk", SECRETS[1])
    assert files.changed(peers)
    assert files.preshared(peers)["iad"] == PresharedKey.from_base64(SECRETS[1])
    assert not files.changed(peers)


def test_a_damaged_file_is_its_own_peers_trouble(tmp_path: Path, peers: list[MeshPeer]) -> None:
    files = KeyFiles(tmp_path / "key")
    write(tmp_path / "fra.psk", SECRETS[0])
    assert [*files.preshared(peers)] == ["fra"]
    assert "iad.psk: No such file" in files.problems["iad"]
    assert not files.changed(peers), "it is not read again and again"
    for text, mode, said in (
        ("short", 0o600, "is damaged"),
        (SECRETS[1], 0o640, "others may read"),
        (base64.b64encode(bytes(32)).decode(), 0o600, "all zeros"),
    ):
        write(tmp_path / "iad.psk", text, mode)
        assert [*files.preshared(peers)] == ["fra"]
        assert said in files.problems["iad"]
        assert text not in files.problems["iad"]
        assert not files.changed(peers), "it is not read again and again"
    (tmp_path / "iad.psk").chmod(0o600)
    assert files.changed(peers), "other rights may have mended it"
    write(tmp_path / "iad.psk", SECRETS[1])
    assert files.changed(peers)
    assert [*files.preshared(peers)] == ["fra", "iad"]
    assert files.problems == {}


def test_our_own_key_when_it_is_switched_lost_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "wireguard.key"
    files = KeyFiles(path)
    first = files.private()
    other = PrivateKey.generate()
    write(path, other.reveal_base64())
    assert files.private().public == other.public != first.public
    path.unlink()
    assert files.private().public == other.public, "a running node makes no new identity"
    assert not path.exists()
    for text, mode, said in (("bad", 0o600, "is damaged"), ("bad", 0o644, "others may read")):
        write(path, text, mode)
        for _ in range(2):
            assert files.private().public == other.public, "it goes on with the one that it had"
            assert said in files.own_problem
        with pytest.raises(KeyFileError, match=said):
            KeyFiles(path).private()
    write(path, first.reveal_base64())
    assert files.private().public == first.public
    assert files.own_problem == ""


def test_a_preshared_key_is_never_shown() -> None:
    key = PresharedKey.from_base64(SECRETS[0])
    for shown in (repr(key), str(key), f"{key}", f"{[key]}"):
        assert SECRETS[0] not in shown
        assert key.reveal_hex() not in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key)
