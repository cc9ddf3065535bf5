"""The lifeline as a process: when its device is there, and when it is not."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.lab.lifeline.conftest import Node

Start = Callable[..., "Popen[str]"]


@contextmanager
def control(node: Node, *messages: bytes) -> Iterator[socket.socket]:
    """A control's connection, after what the lifeline said and these messages."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(3)
        connection.connect(str(node.socket))
        assert connection.recv(64) == (b"held" if node.is_up else b"released")
        for message in messages:
            connection.send(message)
        yield connection


def test_the_device_comes_with_the_first_beat_and_goes_after_the_grace(
    node: Node, start: Start
) -> None:
    start()
    with control(node) as connection:
        assert not node.is_up
        connection.send(b"beat")
        assert connection.recv(64) == b"held"
        assert node.is_up
    assert node.wait(up=False) > node.grace * 0.8


def test_the_end_of_the_process_is_the_end_of_the_device(node: Node, start: Start) -> None:
    node.grace = 60
    process = start()
    with control(node, b"beat"):
        node.wait(up=True)
        process.kill()
        assert node.wait(up=False) < 0.5


def test_sigterm(node: Node, start: Start) -> None:
    node.grace = 60
    process = start()
    with control(node, b"beat"):
        node.wait(up=True)
        process.terminate()
        assert process.wait(3) == 0
        assert not node.is_up
        assert not node.socket.exists()


def test_each_beat_has_an_answer(node: Node, start: Start) -> None:
    node.grace = 60
    process = start()
    with control(node) as connection:
        for _ in range(3):
            connection.send(b"beat")
            assert connection.recv(64) == b"held"
        process.send_signal(signal.SIGSTOP)
        connection.send(b"beat")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(64)
        process.send_signal(signal.SIGCONT)
        connection.settimeout(3)
        assert connection.recv(64) == b"held"


def test_silence(node: Node, start: Start) -> None:
    start()
    with control(node, b"beat") as connection:
        node.wait(up=True)
        time.sleep(0.3)
        connection.send(b"beat")
        assert node.wait(up=False) > node.heartbeat_timeout
        connection.send(b"beat")
        node.wait(up=True)


def test_a_second_control_takes_over(node: Node, start: Start) -> None:
    start()
    with control(node, b"beat") as first:
        node.wait(up=True)
        with control(node, b"beat"):
            first.close()
            time.sleep(node.grace * 1.5)
            assert node.is_up
    node.wait(up=False)


def test_a_restarted_control_finds_it_held(node: Node, start: Start) -> None:
    node.grace = 2
    start()
    with control(node, b"beat"):
        node.wait(up=True)
    with control(node, b"beat"):
        time.sleep(0.1)
        assert node.is_up


def test_without_grace(node: Node, start: Start) -> None:
    node.grace = 0
    start()
    with control(node, b"beat"):
        node.wait(up=True)
    assert node.wait(up=False) < 0.3


def test_a_device_that_someone_removed_comes_back(node: Node, start: Start) -> None:
    start()
    with control(node, b"beat") as connection:
        node.wait(up=True)
        assert connection.recv(64) == b"held"
        node.ip("link del edgenode0")
        assert connection.recv(64) == b"released"
        connection.send(b"beat")
        node.wait(up=True)


def test_nonsense_is_no_heartbeat(node: Node, start: Start) -> None:
    start()
    with control(node, b"beat!", b"\x00" * 1000):
        time.sleep(0.1)
        assert not node.is_up


def test_the_device_is_quiet(node: Node, start: Start) -> None:
    start()
    with control(node, b"beat"):
        node.wait(up=True)
        text = node.ip("-d addr show dev edgenode0")
        assert "inet6" not in text
        assert "tun type tun pi off" in text
        assert "persist off" in text


def test_no_core_dumps_and_no_one_else_at_the_socket(node: Node, start: Start) -> None:
    process = start()
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    (core,) = (line.split() for line in limits.splitlines() if line.startswith("Max core"))
    assert core[4:6] == ["0", "0"]
    assert node.socket.stat().st_mode & 0o777 == 0o660


def test_only_one_at_a_time(node: Node, start: Start) -> None:
    start()
    second = start(wait=False)
    _, errors = second.communicate(timeout=5)
    assert second.returncode == 1
    assert (
        errors == f"lifeline: {node.socket} is in use: another lifeline is running, stop it first\n"
    )


def test_the_socket_of_one_that_died_is_no_hindrance(node: Node, start: Start) -> None:
    first = start()
    first.kill()
    first.wait(3)
    assert node.socket.exists()
    start()
    with control(node, b"beat"):
        node.wait(up=True)


def test_without_permission(start: Start) -> None:
    process = start("setpriv", "--bounding-set", "-net_admin", wait=False)
    _, errors = process.communicate(timeout=5)
    assert process.returncode == 1
    assert errors == (
        "lifeline: device edgenode0 cannot be made (Operation not permitted): "
        "run as root (CAP_NET_ADMIN)\n"
    )
