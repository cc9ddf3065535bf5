"""What the service manager is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from edgenode.notify import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_ready_and_signs_of_life(tmp_path: Path, abstract: bool) -> None:
    name = f"\0edgenode-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        manager.settimeout(1.0)
        environment = {
            "NOTIFY_SOCKET": name.replace("\0", "@"),
            "WATCHDOG_USEC": "3000000",
            "WATCHDOG_PID": str(os.getpid()),
        }
        notifier = Notifier(environment)
        assert environment == {}, "a child could speak for us"
        assert notifier.interval == 1.0
        notifier.ready("node lon1")
        assert manager.recv(100) == b"READY=1\nSTATUS=node lon1"
        for now in (5.0, 5.5, 6.0):
            notifier.alive(now)
        notifier.stopping()
        said = [manager.recv(100) for _ in range(3)]
        assert said == [b"WATCHDOG=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_without_a_service_manager() -> None:
    notifier = Notifier({})
    assert notifier.interval is None
    notifier.ready()
    notifier.alive(1.0)
    notifier.stopping()


def test_a_service_manager_that_is_gone_harms_nobody(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


def test_a_watchdog_meant_for_another_process() -> None:
    assert (
        Notifier({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}).interval
        is None
    )
