"""A command whose very start hangs, as that of a plugin on a dead file server."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenode.health.exec import ExecProbe

FAN_CLASS_CONTENT, FAN_CLOEXEC = 0x4, 0x1
FAN_MARK_ADD, FAN_OPEN_EXEC_PERM, AT_FDCWD = 0x1, 0x40000, -100


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Path]:
    """A program whose execve waits for a permission that does not come: fanotify(7)."""
    path = tmp_path / "plugin"
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, os.O_RDONLY)
    if descriptor < 0:
        pytest.skip(f"no fanotify: {os.strerror(ctypes.get_errno())}")
    try:
        mark = (ctypes.c_uint(FAN_MARK_ADD), ctypes.c_uint64(FAN_OPEN_EXEC_PERM))
        if libc.fanotify_mark(descriptor, *mark, AT_FDCWD, os.fsencode(path)):
            pytest.skip(f"no permission events: {os.strerror(ctypes.get_errno())}")
        yield path
    finally:
        os.close(descriptor)


async def test_a_start_that_hangs_blocks_nobody_and_is_killed(plugin: Path) -> None:
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.01)

    ticking = asyncio.create_task(tick())
    started = time.monotonic()
    observation = await ExecProbe((str(plugin),), 0.4)()
    ticking.cancel()
    assert (observation.ok, observation.timed) == (False, True)
    assert time.monotonic() - started < 1.0
    gaps = [after - before for before, after in itertools.pairwise(ticks)]
    assert max(gaps) < 0.3, "the event loop went on"
    users = [p for p in Path("/proc").glob("[0-9]*/cmdline") if bytes(plugin) in _read(p)]
    assert users == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
