"""What the flow does in one turn, with the system calls replaced."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgenode.steering import sysio, timeouts
from edgenode.steering.connection import Connection, Phase, Route, Side
from edgenode.steering.counters import ServiceCount
from edgenode.steering.flow import (
    BUDGET,
    BULK_CHUNK,
    END,
    ERROR,
    INPUT,
    LINGER,
    OUTPUT,
    Flow,
)
from edgenode.steering.loop import Loop
from edgenode.steering.table import Bind, Service
from edgenode.steering.why import Why

CLIENT, WORKER = 1000, 1001


def ends_with(ends: list[Why]) -> Callable[[Connection, Why], None]:
    return lambda connection, why: ends.append(why)


@pytest.fixture
def loop() -> Loop:
    count = ServiceCount()
    route = Route(Service("web", (), "v2", 1.0, 60.0, ()), count, Bind())
    user = ("192.0.2.2", 1)
    connection = Connection(1, route, user, user, CLIENT, 0.0, 0.0, Phase.LIVE, WORKER)
    made = Loop()
    made.sides[CLIENT] = Side(CLIENT, WORKER, connection, count.up, watched=True)
    made.sides[WORKER] = Side(WORKER, CLIENT, connection, count.down, watched=True)
    return made


def test_a_side_that_never_blocks_gets_one_budget_a_turn(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysio, "read", lambda _, size: bytes(size))
    monkeypatch.setattr(sysio, "write", lambda _, data: len(data))
    flow = Flow(loop, ends_with([]))
    side = loop.sides[WORKER]
    flow.on_event(side, INPUT)
    once = side.moved
    assert BUDGET <= once < BUDGET + BULK_CHUNK
    # An event does not give it a second turn, nor a second place in the queue.
    flow.on_event(side, INPUT)
    assert side.moved == once
    assert flow.unfinished == [side]
    flow.resume()
    assert once < side.moved <= 2 * (BUDGET + BULK_CHUNK)
    assert flow.unfinished == [side]
    assert side.connection.route.count.down.bytes == side.moved


def test_nothing_is_read_while_bytes_are_held(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, writes = [], iter((10, 0))

    def read(_: int, size: int) -> bytes:
        reads.append(size)
        return bytes(size)

    def write(_: int, data: bytes) -> int:
        size = next(writes)
        if size == 0:
            raise BlockingIOError
        return size

    monkeypatch.setattr(sysio, "read", read)
    monkeypatch.setattr(sysio, "write", write)
    side, peer = loop.sides[WORKER], loop.sides[CLIENT]
    peer.watches_output = True
    flow = Flow(loop, ends_with([]))
    flow.on_event(side, INPUT)
    flow.on_event(side, INPUT)
    flow.pump(side)
    assert len(reads) == 1
    assert len(side.held) == reads[0] - 10


def test_the_end_behind_a_short_read_of_a_broken_side_is_found(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker takes nothing more; no event will tell of what comes behind its last bytes."""
    client, worker = loop.sides[CLIENT], loop.sides[WORKER]
    worker.broken = True
    worker.held = b"held "
    reads = iter((b"short", b""))
    taken: list[bytes] = []
    ends: list[Why] = []
    monkeypatch.setattr(sysio, "read", lambda fd, size: next(reads))

    def write(fd: int, data: bytes) -> int:
        taken.append(data)
        return len(data)

    monkeypatch.setattr(sysio, "write", write)
    flow = Flow(loop, ends_with(ends))
    flow.on_event(client, OUTPUT)
    assert b"".join(taken) == b"held short"
    assert ends == [Why.WORKER_RESET]


def test_an_error_after_a_half_close_ends_the_connection(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[Why] = []
    monkeypatch.setattr(sysio, "read", lambda fd, size: b"")
    monkeypatch.setattr(sysio, "end_writing", lambda fd: None)
    monkeypatch.setattr(sysio, "unsent", lambda fd: False)
    flow = Flow(loop, ends_with(ends))
    flow.on_event(loop.sides[CLIENT], INPUT | END)
    assert ends == []
    flow.on_event(loop.sides[CLIENT], END | ERROR)
    assert ends == [Why.CLIENT_RESET]


@pytest.mark.parametrize("at_once", [False, True])
def test_an_error_after_a_half_close_waits_for_what_came_before(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """The worker has not confirmed it yet: a reset might take it back. But not for long."""
    ends: list[Why] = []
    client, reads = loop.sides[CLIENT], iter((b"all", b""))
    monkeypatch.setattr(sysio, "read", lambda fd, size: next(reads))
    for name in ("write", "write_more"):
        monkeypatch.setattr(sysio, name, lambda fd, data: len(data))
    monkeypatch.setattr(sysio, "end_writing", lambda fd: None)
    monkeypatch.setattr(sysio, "unsent", lambda fd: True)
    flow = Flow(loop, ends_with(ends))
    if at_once:
        flow.on_event(client, INPUT | END | ERROR)
    else:
        flow.on_event(client, INPUT | END)
        flow.on_event(client, END | ERROR)
    assert (ends, client.end_passed) == ([], True)
    connection = client.connection
    assert timeouts.over(connection, loop.now + LINGER - 0.01) is None
    assert timeouts.over(connection, loop.now + LINGER) is Why.CLIENT_RESET
    due = loop.timers.next_due()
    assert due is not None
    assert due < loop.now + LINGER + 0.1
