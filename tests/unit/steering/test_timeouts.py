"""When a connection is over: by the times that it knows, and by a relay that runs."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering import timeouts
from edgenode.steering.connection import Connection, Route
from edgenode.steering.counters import ServiceCount
from edgenode.steering.protection import Protection
from edgenode.steering.table import Bind, Service
from edgenode.steering.timers import GRANULARITY, Timers
from edgenode.steering.why import Why
from tests.unit.steering.running import RunningRelay, Worker, eventually, read_all, read_exactly


def connection(protection: Protection, idle: float, started: float, active: float) -> Connection:
    service = Service("web", (), "none", 1.0, idle, (), protection=protection)
    route = Route(service, ServiceCount(), Bind())
    return Connection(1, route, ("::1", 1), ("::1", 2), 5, started=started, active=active)


seconds = st.floats(0.5, 100.0)


@given(seconds, st.none() | seconds, st.none() | seconds, st.booleans(), seconds)
def test_the_timer_is_never_early_and_not_late(
    idle: float, half: float | None, lifetime: float | None, half_closed: bool, moved: float
) -> None:
    one = connection(
        Protection(half_closed_timeout=half or 0.0, lifetime=lifetime or 0.0),
        idle,
        100.0,
        100.0 + moved,
    )
    one.half_closed = half_closed
    ends = {Why.IDLE: one.active + idle}
    if half_closed and half:
        ends[Why.HALF_CLOSED] = one.active + half
    if lifetime:
        ends[Why.LIFETIME] = one.started + lifetime
    timers = Timers()
    timeouts.watch(timers, one)
    due = timers.next_due()
    assert due is not None
    sooner = [at for why, at in ends.items() if why is not Why.IDLE or not (half_closed and half)]
    assert min(sooner) <= due + 1e-6
    assert due <= min(sooner) + max(idle, half or 0.0, lifetime or 0.0) / 16 + 2 * GRANULARITY
    assert timeouts.over(one, min(ends.values()) - 0.01) is None
    assert timeouts.over(one, due + 0.001) in ends


@pytest.fixture
def serve(relay: RunningRelay) -> Callable[[Callable[..., None], Protection], None]:
    relay.listen("web")

    def serve(behave: Callable[..., None], protection: Protection) -> None:
        worker = Worker(behave)
        service = relay.service(("fra", [worker.target("fra-1")]))
        relay.apply(replace(service, protection=protection))

    return serve


Serve = Callable[[Callable[..., None], Protection], None]


def test_a_worker_that_never_closes_is_not_waited_for(relay: RunningRelay, serve: Serve) -> None:
    ended: list[bytes] = []

    def never_closes(connection: socket.socket, header: object) -> None:
        ended.append(read_all(connection))
        time.sleep(5.0)

    serve(never_closes, Protection(half_closed_timeout=0.3))
    with relay.connect() as user:
        user.sendall(b"bye")
        user.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            user.recv(1)
    assert [line["why"] for line in relay.log(1)] == ["half-closed"]
    assert ended == [b"bye"]


def test_half_closed_connections_go_on_as_long_as_something_moves(
    relay: RunningRelay, serve: Serve
) -> None:
    def sleepy(connection: socket.socket, header: object) -> None:
        read_all(connection)
        for _ in range(6):
            time.sleep(0.3)
            connection.sendall(b"x")

    serve(sleepy, Protection(half_closed_timeout=1.2))
    with relay.connect() as user:
        user.shutdown(socket.SHUT_WR)
        assert read_all(user) == b"x" * 6
    assert [line["why"] for line in relay.log(1)] == ["closed"]


def keep_busy(user: socket.socket) -> None:
    while True:
        user.sendall(b"x")
        read_exactly(user, 1)


def test_a_lifetime_ends_what_is_busy(relay: RunningRelay, serve: Serve) -> None:
    def echo(connection: socket.socket, header: object) -> None:
        while data := connection.recv(1000):
            connection.sendall(data)

    serve(echo, Protection(lifetime=0.5))
    with relay.connect() as user, pytest.raises((ConnectionResetError, BrokenPipeError)):
        keep_busy(user)
    eventually(relay.idle)
    assert [line["why"] for line in relay.log(1)] == ["lifetime"]
