"""Users and workers that misbehave: a reason for each, bounded memory, and no descriptor left."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgenode.steering.connection import CHUNK
from edgenode.steering.flow import BULK_CHUNK
from edgenode.steering.pipes import PIPE
from edgenode.steering.protection import Protection
from tests.unit.steering.running import (
    PATIENCE,
    USER,
    RunningRelay,
    Worker,
    eventually,
    read_all,
    read_exactly,
    reset,
)


def obey(connection: socket.socket, header: object) -> None:
    """Do what the first byte says."""
    order = connection.recv(1)
    if order == b"e":
        while data := connection.recv(65536):
            connection.sendall(data)
    elif order == b"r":
        reset(connection)
    elif order == b"s":
        poll = select.poll()
        poll.register(connection, 0)  # its errors alone
        poll.poll(PATIENCE * 1000)
    elif order == b"b":
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(bytes(65536))
    elif order == b"1":
        for byte in read_all(connection):
            connection.send(bytes((byte,)))


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker(obey)
    yield made
    made.close()


@pytest.fixture
def served(relay: RunningRelay, worker: Worker) -> RunningRelay:
    relay.listen("web")
    service = relay.service(("fra", [worker.target("fra-1")]), idle_timeout=1.0)
    relay.apply(replace(service, protection=Protection(half_closed_timeout=0.5)))
    return relay


def cut(relay: RunningRelay, before: bytes, half_closed: bool = False) -> None:
    user = relay.connect()
    if before:
        user.sendall(before)
        if before[:1] == b"e":
            read_exactly(user, len(before) - 1)
    if half_closed:
        user.shutdown(socket.SHUT_WR)
    reset(user)


def meets_reset(relay: RunningRelay, order: bytes, half_closed: bool = False) -> None:
    with relay.connect() as user:
        user.sendall(order)
        if half_closed:
            user.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            user.recv(1)


@pytest.mark.parametrize(
    ("story", "reasons"),
    [
        (lambda relay: cut(relay, b""), {"client-reset"}),
        (lambda relay: cut(relay, b"s"), {"client-reset"}),
        (lambda relay: cut(relay, b"ehello"), {"client-reset"}),
        (lambda relay: cut(relay, b"b"), {"client-reset"}),
        (lambda relay: cut(relay, b"s", half_closed=True), {"client-reset"}),
        (lambda relay: meets_reset(relay, b"r"), {"worker-reset"}),
        (lambda relay: meets_reset(relay, b"s"), {"idle"}),
        (lambda relay: meets_reset(relay, b"s", half_closed=True), {"half-closed"}),
    ],
    ids=[
        *("at once", "silent worker", "live", "under bulk", "half-closed"),
        *("by the worker", "never answered", "never closed"),
    ],
)
def test_a_reset_at_each_step(
    served: RunningRelay, story: Callable[[RunningRelay], None], reasons: set[str]
) -> None:
    story(served)
    (line,) = served.log(1)
    assert line["why"] in reasons
    eventually(served.idle)
    assert sum(served.report()["figures"]["web"]["endings"].values()) == 1
    assert served.call(lambda: len(served.relay._loop.sides)) == 0
    assert served.call(lambda: served.relay._loop.stuck) == 0


def test_what_a_user_sent_before_its_end_arrives_though_a_reset_follows(
    relay: RunningRelay,
) -> None:
    """As of one who sends, closes, and does not read the answer."""
    received: list[bytes] = []

    def slow(connection: socket.socket, header: object) -> None:
        time.sleep(0.3)
        received.append(read_all(connection))

    worker = Worker(slow)
    relay.serve(("fra", [worker.target("fra-1")]))
    data = random.Random(5).randbytes(600_000)
    user = relay.connect()
    user.sendall(data)
    user.shutdown(socket.SHUT_WR)
    eventually(lambda: relay.web()["bytes_up"] == len(data))
    reset(user)
    eventually(lambda: received)
    assert received == [data]
    assert [line["why"] for line in relay.log(1)] == ["client-reset"]
    worker.close()


def test_a_reset_while_dialing(served: RunningRelay, worker: Worker) -> None:
    worker.cut()
    user = served.connect()
    user.sendall(b"hello")
    eventually(lambda: served.web()["live"] == 1)
    reset(user)
    assert [line["why"] for line in served.log(1)] == ["client-reset"]
    worker.mend()


def test_segments_of_one_byte_both_ways(served: RunningRelay) -> None:
    data = random.Random(3).randbytes(1000)
    with served.connect() as user:
        user.sendall(b"1")
        for byte in data:
            user.send(bytes((byte,)))
        user.shutdown(socket.SHUT_WR)
        assert read_all(user) == data
    assert [line["why"] for line in served.log(1)] == ["closed"]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=300), st.booleans(), st.integers(0, 2**32))
def test_random_bytes_end_with_a_reason(
    served: RunningRelay, junk: bytes, orderly: bool, seed: int
) -> None:
    pieces = random.Random(seed)

    def ended() -> int:
        return sum(served.report()["figures"]["web"]["endings"].values())

    before = ended()
    with contextlib.suppress(OSError), served.connect() as user:
        at = 0
        while at < len(junk):
            at += user.send(junk[at : at + pieces.randint(1, 100)])
        if orderly:
            user.shutdown(socket.SHUT_WR)
        else:
            reset(user)
    eventually(lambda: ended() == before + 1)
    assert served.idle()


def test_no_descriptor_is_left(served: RunningRelay) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    cut(served, b"ehello")
    eventually(served.idle)
    time.sleep(0.1)
    before = opened()
    for order in (b"", b"s", b"ehello", b"b", b"r") * 20:
        cut(served, order)
    eventually(served.idle)
    eventually(lambda: opened() <= before, "descriptors are left")


def test_many_slow_readers_hold_little(served: RunningRelay) -> None:
    """Once they hold more than a bound together, each is given small chunks alone."""
    flow = served.relay._flow
    served.call(lambda: setattr(flow, "most_stuck", 4 * BULK_CHUNK))
    with ExitStack() as stack:
        for _ in range(30):
            user = stack.enter_context(socket.socket())
            user.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            user.bind((USER, 0))
            user.connect(served._listeners["web"])
            user.sendall(b"b")
        sides = served.relay._loop.sides

        def held() -> list[int]:
            found = [len(side.held) + side.piped for side in sides.values()]
            return [one for one in found if one]

        eventually(lambda: len(served.call(held)) == 30)
        # One may be at a large chunk, or a pipe, when the bound is passed.
        assert sum(served.call(held)) <= 4 * BULK_CHUNK + PIPE + 30 * CHUNK
        assert sum(served.call(held)) == served.call(lambda: served.relay._loop.stuck)
        # None of them reads: they are idle, and end so.
        eventually(served.idle)
    assert {line["why"] for line in served.log(30)} == {"idle"}
    assert served.call(lambda: served.relay._loop.stuck) == 0


def test_a_crowd_of_all_kinds(served: RunningRelay) -> None:
    orders = (b"", b"s", b"ehello", b"r", b"1", b"b")

    def crowd(seed: int) -> None:
        choice = random.Random(seed)
        for _ in range(20):
            with contextlib.suppress(OSError, EOFError):
                cut(served, choice.choice(orders), choice.random() < 0.3)

    threads = [threading.Thread(target=crowd, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    eventually(served.idle)
    web = served.report()["figures"]["web"]
    assert sum(web["endings"].values()) == served.web()["accepted"] == 160
    assert len(served.log(160)) == 160
