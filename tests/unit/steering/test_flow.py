"""What the flow does in one turn, with the system calls replaced."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from edgenode.steering import sysio, timeouts
from edgenode.steering.connection import CHUNK, Connection, Phase, Route, Side
from edgenode.steering.counters import Meter, ServiceCount
from edgenode.steering.flow import BUDGET, BULK, BULK_CHUNK, LINGER, ROUND, Flow
from edgenode.steering.loop import Loop
from edgenode.steering.pipes import PIPE
from edgenode.steering.sysio import END, ERROR, INPUT, OUTPUT, WOULD_BLOCK, Pipe, Transfer
from edgenode.steering.table import Bind, Service
from edgenode.steering.why import Why

CLIENT, WORKER = 1000, 1001
T = TypeVar("T")


class Script(Transfer):
    """System calls that were replaced: what is read, what is taken, and an end."""

    def __init__(self, reads: Iterator[int | bytes], takes: Iterator[int]) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.written: list[bytes] = []
        self.confirmed = True
        self._reads = reads
        self._takes = takes
        self._read = b""

    def read(self, fd: int, size: int) -> int:
        self.asked.append(size)
        data = next(self._reads)
        if isinstance(data, int):
            if data < 0:
                return data
            data = bytes(min(size, data))
        self._read = data
        return len(data)

    def write(self, fd: int, size: int, more: bool) -> int:
        return self._take(self._read[:size])

    def rest(self, start: int, size: int) -> bytes:
        return self._read[start:size]

    def write_held(self, fd: int, data: bytes, more: bool) -> int:
        return self._take(data)

    def fill(self, pipe: Pipe, fd: int, size: int) -> int:
        return self.read(fd, size)

    def drain(self, pipe: Pipe, fd: int, size: int, more: bool) -> int:
        return self._take(bytes(size))

    def end_writing(self, fd: int) -> int:
        return 0

    def unsent(self, fd: int) -> bool:
        return not self.confirmed

    def _take(self, data: bytes) -> int:
        taken = min(next(self._takes), len(data))
        if taken > 0:
            self.written.append(data[:taken])
        return taken


def always(value: T) -> Iterator[T]:
    while True:
        yield value


ALL = always(1 << 30)


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


def of(loop: Loop) -> tuple[Connection, Meter]:
    """What a further side of the worker has in common with it."""
    return loop.sides[WORKER].connection, loop.sides[WORKER].meter


def a_round(flow: Flow, side: Side, event: int) -> None:
    """One with this event alone."""
    flow.on_event(side, event)
    flow.resume()


def test_a_side_that_never_blocks_gets_one_budget_a_turn(loop: Loop) -> None:
    flow = Flow(loop, ends_with([]), Script(always(1 << 30), ALL))
    side = loop.sides[WORKER]
    flow.on_event(side, INPUT)
    once = side.moved
    assert BUDGET <= once < BUDGET + PIPE
    # An event does not give it a second turn, nor a second place in the queue.
    flow.on_event(side, INPUT)
    assert side.moved == once
    assert list(flow.unfinished) == [side]
    flow.resume()
    assert once < side.moved <= 2 * (BUDGET + PIPE)
    assert list(flow.unfinished) == [side]
    assert side.connection.route.count.down.bytes == side.moved


def test_bulk_waits_until_the_others_are_served_and_a_round_moves_little_of_it(
    loop: Loop,
) -> None:
    """Else whoever asks beside it waits for all of it."""
    flow = Flow(loop, ends_with([]), Script(always(1 << 30), ALL))
    flows = [Side(number, CLIENT, *of(loop)) for number in range(20, 24)]
    for side in flows:
        loop.sides[side.fd] = side
        side.bulk = True
        flow.on_event(side, INPUT)
    assert sum(side.moved for side in flows) == 0
    for _ in range(2):
        before = [side.moved for side in flows]
        flow.resume()
        after = [side.moved for side in flows]
        assert 0 < sum(after) - sum(before) < ROUND + PIPE
    while not all(side.moved for side in flows):
        flow.resume()
    assert [side.moved for side in flows] == [flows[0].moved] * len(flows)


def test_nothing_is_read_while_bytes_are_held(loop: Loop) -> None:
    script = Script(always(1 << 30), iter((10, WOULD_BLOCK)))
    side, peer = loop.sides[WORKER], loop.sides[CLIENT]
    peer.watches_output = True
    flow = Flow(loop, ends_with([]), script)
    flow.on_event(side, INPUT)
    flow.on_event(side, INPUT)
    flow.pump(side)
    assert len(script.asked) == 1
    assert len(side.held) == script.asked[0] - 10


def lent(side: Side) -> bool:
    """Whether it has a pipe now."""
    return side.pipe is not None


def test_a_pipe_is_had_only_while_something_is_in_it(loop: Loop) -> None:
    """It is taken for bulk, goes on where the peer took a part, and goes back when it is empty."""
    reads = iter((1 << 30, BULK, PIPE, 10, WOULD_BLOCK))
    takes = iter((1 << 30, 1 << 30, 1000, WOULD_BLOCK, 1 << 30, 10))
    script = Script(reads, takes)
    side, peer = loop.sides[WORKER], loop.sides[CLIENT]
    peer.watches_output = True
    flow = Flow(loop, ends_with([]), script)
    a_round(flow, side, INPUT)
    assert not lent(side)
    a_round(flow, side, INPUT)
    assert lent(side)
    assert side.piped == PIPE - 1000
    assert loop.pipes.idle == []
    a_round(flow, side, INPUT)  # nothing is read before it has been taken
    assert script.asked == [CHUNK, BULK_CHUNK, PIPE]
    a_round(flow, peer, OUTPUT)
    flow.resume()  # and little more has come: it is no bulk any more
    assert not lent(side)
    assert (side.piped, side.bulk, len(loop.pipes.idle)) == (0, False, 1)
    assert side.moved == sum(map(len, script.written)) == CHUNK + BULK + PIPE + 10


def test_what_is_in_a_pipe_can_be_taken_out(loop: Loop) -> None:
    """For a handover; if it comes to nothing, the bytes go on as such that are held."""
    side, peer = loop.sides[WORKER], loop.sides[CLIENT]
    pipe = loop.pipes.lend(side, 0.0)
    assert pipe is not None
    side.piped = os.write(pipe.writer, b"x" * 50_000 + b"y")
    loop.pipes.settle(side)
    assert not lent(side)
    assert (side.held, side.piped) == (b"x" * 50_000 + b"y", 0)
    assert loop.pipes.idle == [pipe]
    loop.pipes.settle(side)
    script = Script(iter((WOULD_BLOCK,)), ALL)
    Flow(loop, ends_with([]), script).on_event(peer, OUTPUT)
    assert script.written == [b"x" * 50_000 + b"y"]


def test_a_reset_behind_bulk_is_no_end_in_order(loop: Loop) -> None:
    """A system call that moves bytes into a pipe is told of it, and no other one after that."""
    reads = iter((1 << 30, BULK, -errno.ECONNRESET, 0))
    ends: list[Why] = []
    flow = Flow(loop, ends_with(ends), Script(reads, ALL))
    a_round(flow, loop.sides[WORKER], INPUT)
    a_round(flow, loop.sides[WORKER], INPUT)
    assert ends == [Why.WORKER_RESET]


def test_what_moves_into_no_pipe_need_not_be_the_end(loop: Loop) -> None:
    """The kernel says so too of urgent data that the end came behind, see splice(2)."""
    reads = iter((1 << 30, BULK, 0, b"!", b"behind", 0))
    script, side = Script(reads, ALL), loop.sides[WORKER]
    flow = Flow(loop, ends_with([]), script)
    a_round(flow, side, INPUT)
    a_round(flow, side, INPUT)
    assert b"".join(script.written[2:]) == b"!behind"
    assert side.end_passed


def test_bulk_goes_on_where_there_is_no_pipe(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when descriptors have run out. It is not asked again and again."""
    asked: list[int] = []

    def none(size: int) -> Pipe:
        asked.append(size)
        raise OSError(errno.EMFILE, "")

    monkeypatch.setattr(sysio, "Pipe", none)
    script = Script(iter((*[1 << 30] * 3, WOULD_BLOCK)), ALL)
    side = loop.sides[WORKER]
    flow = Flow(loop, ends_with([]), script)
    flow.on_event(side, INPUT)
    assert side.moved == CHUNK + 2 * BULK_CHUNK
    assert (asked, side.pipe) == ([PIPE], None)


def test_bulk_that_is_over_is_known_without_a_pipe_too(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a session that has once moved much waits for all bulk, byte by byte."""

    def none(size: int) -> Pipe:
        raise OSError(errno.EMFILE, "")

    monkeypatch.setattr(sysio, "Pipe", none)
    side = loop.sides[WORKER]
    reads = iter((1 << 30, 1 << 30, b"some", b"key"))
    flow = Flow(loop, ends_with([]), Script(reads, ALL))
    flow.on_event(side, INPUT)
    assert not side.bulk
    flow.on_event(side, INPUT)
    assert not flow.unfinished
    assert side.moved == CHUNK + BULK_CHUNK + 4 + 3


def test_the_end_behind_a_short_read_of_a_broken_side_is_found(loop: Loop) -> None:
    """The worker takes nothing more; no event will tell of what comes behind its last bytes."""
    client, worker = loop.sides[CLIENT], loop.sides[WORKER]
    worker.broken = True
    worker.held = b"held "
    script = Script(iter((b"short", 0)), ALL)
    ends: list[Why] = []
    flow = Flow(loop, ends_with(ends), script)
    flow.on_event(client, OUTPUT)
    assert b"".join(script.written) == b"held short"
    assert ends == [Why.WORKER_RESET]


def test_an_error_after_a_half_close_ends_the_connection(loop: Loop) -> None:
    ends: list[Why] = []
    flow = Flow(loop, ends_with(ends), Script(always(0), ALL))
    flow.on_event(loop.sides[CLIENT], INPUT | END)
    assert ends == []
    flow.on_event(loop.sides[CLIENT], END | ERROR)
    assert ends == [Why.CLIENT_RESET]


@pytest.mark.parametrize("at_once", [False, True])
def test_an_error_after_a_half_close_waits_for_what_came_before(loop: Loop, at_once: bool) -> None:
    """The worker has not confirmed it yet: a reset might take it back. But not for long."""
    ends: list[Why] = []
    client, script = loop.sides[CLIENT], Script(iter((b"all", 0)), ALL)
    script.confirmed = False
    flow = Flow(loop, ends_with(ends), script)
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


@pytest.mark.parametrize(
    ("error", "of_client", "of_worker"),
    [
        (errno.ETIMEDOUT, Why.CLIENT_SILENT, Why.WORKER_SILENT),
        (errno.EHOSTUNREACH, Why.CLIENT_SILENT, Why.WORKER_SILENT),
        (errno.ECONNRESET, Why.CLIENT_RESET, Why.WORKER_RESET),
    ],
)
@pytest.mark.parametrize("fd", [CLIENT, WORKER])
def test_who_has_vanished_has_not_reset(
    loop: Loop, fd: int, error: int, of_client: Why, of_worker: Why
) -> None:
    ends: list[Why] = []
    Flow(loop, ends_with(ends), Script(iter((-error,)), ALL)).on_event(
        loop.sides[fd], INPUT | ERROR
    )
    assert ends == [of_client if fd == CLIENT else of_worker]


def test_who_has_vanished_leaves_time_for_what_it_sent(loop: Loop) -> None:
    """A user that reads slowly has all of it, be it by another version or past a timer."""
    ends: list[Why] = []
    client, worker = loop.sides[CLIENT], loop.sides[WORKER]
    script = Script(iter((b"more", 0)), iter((-errno.ETIMEDOUT, 1 << 30)))
    worker.held, client.watches_output = b"an answer", True
    flow = Flow(loop, ends_with(ends), script)
    flow.on_event(client, INPUT)
    connection = client.connection
    connection.active = loop.now
    assert (ends, worker.broken) == ([], True)
    assert timeouts.over(connection, loop.now + 2 * LINGER) is None
    flow.on_event(client, OUTPUT)
    assert script.written == [b"an answer"]
    assert ends == [Why.WORKER_SILENT]


def test_who_has_vanished_is_found_by_a_write(loop: Loop) -> None:
    """The kernel tells it once; what is read then is an end."""
    ends: list[Why] = []
    script = Script(iter((b"an answer", 0)), iter((-errno.ETIMEDOUT,)))
    Flow(loop, ends_with(ends), script).on_event(loop.sides[WORKER], INPUT)
    assert ends == [Why.CLIENT_SILENT]
