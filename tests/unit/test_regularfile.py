"""Whatever lies where a file is expected, nobody waits for it."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgenode import regularfile
from edgenode.config import Config, ConfigError, includes, load, loads, read_essentials, secrets
from edgenode.config.certificates import Files, context
from edgenode.lifeline import settings
from tests.unit.config.test_config import GOOD


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


PLACED: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a directory": os.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": a_socket,
}


def said_by_a_certificate(path: Path) -> None:
    context(Files(ca_file=path, client_certificate=None, client_key=None, insecure=False))


READERS: dict[str, Callable[[Path], object]] = {
    "file": regularfile.read,
    "configuration": load,
    "include": includes.read,
    "password": secrets.read,
    "certificate": said_by_a_certificate,
    "lifeline": settings.read,
}


@pytest.mark.parametrize("kind", PLACED)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_said_and_not_waited_for(tmp_path: Path, kind: str, reader: str) -> None:
    PLACED[kind](tmp_path / "there")
    began = time.monotonic()
    with pytest.raises(Exception, match=r"regular file") as refused:
        READERS[reader](tmp_path / "there")
    assert time.monotonic() - began < 1
    if reader != "password":
        assert kind in str(refused.value)


def test_what_it_becomes_after_the_look_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    regular = os.stat(__file__)
    os.mkfifo(tmp_path / "there")
    monkeypatch.setattr(os, "stat", lambda _: regular)
    with pytest.raises(regularfile.NotRegular, match="a FIFO"):
        regularfile.read(tmp_path / "there")


def test_the_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert regularfile.read(path, 5) == b"12345"
    assert regularfile.begin(path, 2)[0] == b"12"
    with pytest.raises(OSError, match="more than 4 bytes"):
        regularfile.read(path, 4)


def test_a_file_system_that_is_away_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that the kernel holds stays; who asked goes on."""
    config = tmp_path / "edgenode.toml"
    config.write_text(GOOD)
    back = threading.Event()
    monkeypatch.setattr(regularfile, "_read", lambda *_: back.wait(30))
    began = time.monotonic()
    with pytest.raises(OSError, match=r"not answered within 0\.1 s"):
        regularfile.read(config, seconds=0.1)
    found = read_essentials(config)
    assert time.monotonic() - began < 5
    assert "has not answered within 2 s" in found.problem
    back.set()


def test_what_is_given_by_who_runs_us_may_be_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, GOOD.encode())
    os.close(writing)
    try:
        assert isinstance(load(Path(f"/dev/fd/{reading}"), check_secrets=False), Config)
    finally:
        os.close(reading)


def test_a_byte_order_mark_is_named(tmp_path: Path) -> None:
    path = tmp_path / "edgenode.toml"
    path.write_text(GOOD, encoding="utf-8-sig")
    with pytest.raises(ConfigError, match=r":1: begins with a byte order mark"):
        load(path)
    assert loads(GOOD)
