"""What the service manager hears of control, and when it hears nothing and kills it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from edgenode.control.heart import LATE, at_work
from edgenode.control.process import _signs_of_life
from edgenode.notify import Notifier


@pytest.mark.parametrize(
    ("last_round", "expected"),
    [(None, True), (100.0, True), (100.0 - LATE, True), (99.9 - LATE, False)],
)
def test_rounds_on_time_are_life(last_round: float | None, expected: bool) -> None:
    assert at_work(last_round, 100.0) is expected


async def test_no_sign_while_nothing_is_decided(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000"}
        works = True
        signs = asyncio.create_task(_signs_of_life(Notifier(environment), lambda: works))
        try:
            await asyncio.sleep(0.1)
            assert manager.recv(100) == b"WATCHDOG=1"
            works = False
            await asyncio.sleep(0.02)
            with contextlib.suppress(BlockingIOError):
                while True:
                    manager.recv(100)
            await asyncio.sleep(0.1)
            with pytest.raises(BlockingIOError):
                manager.recv(100)
            works = True
            await asyncio.sleep(0.1)
            assert manager.recv(100) == b"WATCHDOG=1"
        finally:
            signs.cancel()
