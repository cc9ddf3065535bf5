from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edgenode.lifeline.pulse import Pulse


@pytest.fixture
def lifeline(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as listener:
        listener.bind(str(tmp_path / "lifeline.sock"))
        listener.listen(4)
        yield listener


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def accept(lifeline: socket.socket, says: bytes) -> socket.socket:
    loop = asyncio.get_running_loop()
    connection, _ = await asyncio.wait_for(loop.sock_accept(lifeline), 2)
    connection.send(says)
    return connection


async def receive(connection: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(connection, 64), 2)


async def test_a_life(lifeline: socket.socket, tmp_path: Path) -> None:
    states: list[bool] = []
    pulse = Pulse(tmp_path / "lifeline.sock", on_state=states.append)
    assert not pulse.beat()
    task = asyncio.create_task(pulse.run())
    try:
        connection = await accept(lifeline, b"released")
        assert await asyncio.wait_for(pulse.wait_state(), 2) is False
        assert pulse.beat()
        assert await receive(connection) == b"beat"
        connection.send(b"held")
        await until(lambda: pulse.held is True)
        connection.close()
        connection = await accept(lifeline, b"held")  # it comes back by itself
        assert await asyncio.wait_for(pulse.wait_state(), 2) is True
        assert states == [False, True, True]
        assert pulse.problem == ""
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert await receive(connection) == b"", "cancelled, it closes and says nothing"
    assert pulse.held is None


async def test_a_lifeline_that_does_not_answer(lifeline: socket.socket, tmp_path: Path) -> None:
    pulse = Pulse(tmp_path / "lifeline.sock")
    task = asyncio.create_task(pulse.run())
    connection = await accept(lifeline, b"held")
    await asyncio.wait_for(pulse.wait_state(), 2)
    assert pulse.silent_for(time.monotonic() + 100) == 0, "nothing was asked"
    assert pulse.beat()
    first = time.monotonic()
    await asyncio.sleep(0.05)
    assert pulse.beat(), "it counts from the first beat without an answer"
    assert pulse.silent_for(first + 5) == pytest.approx(5, abs=0.04)
    connection.send(b"held")
    await until(lambda: pulse.silent_for(time.monotonic() + 100) == 0)
    assert pulse.beat()
    connection.close()
    await until(lambda: pulse.held is None)
    assert pulse.silent_for(time.monotonic() + 100) == 0, "one that is gone is another matter"
    task.cancel()


async def test_no_lifeline(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path / "lifeline.sock")
    task = asyncio.create_task(pulse.run())
    await until(lambda: bool(pulse.problem))
    assert "start edgenode lifeline" in pulse.problem
    assert not pulse.beat()
    task.cancel()


async def test_a_lifeline_that_does_not_read_blocks_nobody(
    lifeline: socket.socket, tmp_path: Path
) -> None:
    pulse = Pulse(tmp_path / "lifeline.sock")
    task = asyncio.create_task(pulse.run())
    connection = await accept(lifeline, b"held")
    await asyncio.wait_for(pulse.wait_state(), 2)
    assert not all(pulse.beat() for _ in range(10_000))
    assert "does not take a beat" in pulse.problem
    task.cancel()
    connection.close()
