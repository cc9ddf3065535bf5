"""Keys: made once, for their owner alone, never shown."""

import os
import pickle
import stat
from pathlib import Path

import pytest

from edgenode.config.values import decode_key
from edgenode.mesh import KeyFileError
from edgenode.mesh.keys import PrivateKey, load_or_create


def test_the_public_key_of_rfc_7748() -> None:
    """Section 6.1, Bob's pair."""
    private = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
    public = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    assert decode_key(PrivateKey(bytes.fromhex(private)).public).hex() == public


def test_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "wireguard.key"
    first = load_or_create(path)
    assert load_or_create(path).public == first.public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == first.reveal_base64() + "\n"
    assert list(tmp_path.iterdir()) == [path]


def test_never_shown() -> None:
    key = PrivateKey.generate()
    for shown in (repr(key), str(key), f"{key}", f"{[key]}"):
        assert key.reveal_base64() not in shown
        assert key.reveal_hex() not in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "wireguard.key"
    load_or_create(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:04o}.*chmod 600"):
        load_or_create(path)


@pytest.mark.parametrize("content", ["", "c2hvcnQ=", "not base64 at all", "A" * 44])
def test_a_damaged_file_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "wireguard.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="is damaged") as refused:
        load_or_create(path)
    assert not content or content not in str(refused.value)
    assert path.read_text() == content


def test_no_place_to_make_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileError, match=r"wireguard\.key: Not a directory"):
        load_or_create(tmp_path / "file" / "wireguard.key")


def test_a_pipe_is_no_key_file_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeyFileError, match="a FIFO, and no regular file"):
        load_or_create(tmp_path / "pipe")
