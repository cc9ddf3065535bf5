"""A tripwire's sockets, against listeners of this process."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address

import pytest

from edgenode.config import Endpoint
from edgenode.health.tripwire import AT_ONCE
from edgenode.health.wire import Wire

EndpointOf = Callable[[socket.socket], Endpoint]


class Proxy:
    """A listener whose accepted connections are held, and which can die as a process does."""

    def __init__(self, port: int = 0) -> None:
        self.server = socket.create_server(("127.0.0.1", port))
        self.server.setblocking(False)
        self.endpoint = Endpoint(ip_address("127.0.0.1"), self.server.getsockname()[1])
        self.accepted: list[socket.socket] = []

    def accept(self) -> None:
        while True:
            try:
                self.accepted.append(self.server.accept()[0])
            except BlockingIOError:
                return

    def close_connections(self) -> None:
        while self.accepted:
            self.accepted.pop().close()

    def die(self) -> None:
        self.server.close()
        self.close_connections()


class Downs:
    """What `on_down` was told, and when."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.at = 0.0
        self._event = asyncio.Event()

    def __call__(self, reason: str) -> None:
        self.at = time.monotonic()
        self.reasons.append(reason)
        self._event.set()

    async def wait(self) -> None:
        async with asyncio.timeout(3):
            await self._event.wait()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    yield proxy
    proxy.die()


@pytest.fixture
def downs() -> Downs:
    return Downs()


WireTo = Callable[..., Wire]


@pytest.fixture
async def wire_to(downs: Downs) -> AsyncIterator[WireTo]:
    wires = []

    def wire(target: Endpoint, grace: float = 0.0, limit: float = 0.2) -> Wire:
        wires.append(Wire(target, grace, limit, downs))
        wires[-1].arm()
        return wires[-1]

    yield wire
    for armed in wires:
        armed.disarm()


@pytest.mark.parametrize("accepted", [True, False])
async def test_death_is_told_at_once(
    proxy: Proxy, wire_to: WireTo, downs: Downs, descriptors: Callable[[], int], accepted: bool
) -> None:
    """Whether the connection was accepted (EOF) or still lay in the queue (RST)."""
    before = descriptors()
    wire_to(proxy.endpoint)
    await asyncio.sleep(0.01)
    if accepted:
        proxy.accept()
    died = time.monotonic()
    proxy.die()
    await downs.wait()
    assert downs.reasons == [f"connection to {proxy.endpoint} refused"]
    assert downs.at - died < 0.05
    assert descriptors() == before - 1  # the listener's; the wire closed its own


async def test_our_own_share_of_the_time_is_below_a_millisecond(
    wire_to: WireTo, downs: Downs
) -> None:
    took = []
    for _ in range(20):
        proxy = Proxy()
        told = Downs()
        wire = Wire(proxy.endpoint, 0.0, 0.2, told)
        wire.arm()
        await asyncio.sleep(0)
        died = time.monotonic()
        proxy.die()
        await told.wait()
        took.append(told.at - died)
    assert sorted(took)[10] < 0.001


async def test_closed_idle_connection_is_nothing_and_the_wire_is_held_anew(
    proxy: Proxy, wire_to: WireTo, downs: Downs
) -> None:
    wire = wire_to(proxy.endpoint)
    for fired in range(1, 4):
        await asyncio.sleep(0.02)
        proxy.accept()
        assert proxy.accepted
        proxy.close_connections()
        await asyncio.sleep(0.05)
        assert wire.fired == fired
    assert downs.reasons == []
    proxy.die()
    await downs.wait()


async def test_a_server_that_speaks_first_trips_nothing(
    proxy: Proxy, wire_to: WireTo, downs: Downs
) -> None:
    wire = wire_to(proxy.endpoint)
    await asyncio.sleep(0.01)
    proxy.accept()
    proxy.accepted[0].sendall(b"220 welcome\r\n")
    await asyncio.sleep(0.05)
    assert wire.fired == 0
    proxy.accepted[0].sendall(b"421 idle, closing\r\n")
    proxy.die()
    await downs.wait()


async def test_a_server_that_closes_at_once_meets_no_storm(
    proxy: Proxy, wire_to: WireTo, downs: Downs
) -> None:
    wire = wire_to(proxy.endpoint)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        proxy.accept()
        proxy.close_connections()
        await asyncio.sleep(0.001)
    assert 5 <= wire.fired <= 12 + AT_ONCE
    assert downs.reasons == []


async def test_restart_within_the_grace_is_nothing(
    proxy: Proxy, wire_to: WireTo, downs: Downs
) -> None:
    wire = wire_to(proxy.endpoint, grace=1.0)
    await asyncio.sleep(0.01)
    proxy.accept()
    proxy.die()
    await asyncio.sleep(0.2)
    assert wire.waits_out_restart
    again = Proxy(proxy.endpoint.port)
    await asyncio.sleep(0.15)
    assert not wire.waits_out_restart
    assert downs.reasons == []
    again.die()
    await downs.wait()  # its own grace over


async def test_grace_over_is_down(proxy: Proxy, wire_to: WireTo, downs: Downs) -> None:
    wire_to(proxy.endpoint, grace=0.3)
    await asyncio.sleep(0.01)
    died = time.monotonic()
    proxy.die()
    await downs.wait()
    assert downs.at - died == pytest.approx(0.3, abs=0.1)
    assert downs.reasons == [f"connection to {proxy.endpoint} refused, for 0.3 s now"]


async def test_confirming_connect_that_is_not_answered_confirms_nothing(
    wire_to: WireTo, downs: Downs
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        server.setblocking(False)
        target = Endpoint(ip_address("127.0.0.1"), server.getsockname()[1])
        wire = wire_to(target, limit=0.1)
        await asyncio.sleep(0.01)
        connection, _ = server.accept()
        with socket.create_connection(server.getsockname()):  # the queue is full
            connection.close()
            await asyncio.sleep(0.4)
            assert wire.fired == 1
            assert downs.reasons == []
    await downs.wait()  # the listener closed


async def test_renewal_leaves_no_gap_and_ends_the_oldest(
    proxy: Proxy, wire_to: WireTo, downs: Downs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgenode.health.tripwire.RENEW", 0.1)
    wire = wire_to(proxy.endpoint)
    await asyncio.sleep(0.25)
    proxy.accept()
    first, second, third = proxy.accepted
    for connection in proxy.accepted:
        connection.setblocking(False)
    with pytest.raises(ConnectionResetError):
        first.recv(1)
    for held in (second, third):
        with pytest.raises(BlockingIOError):
            held.recv(1)
    assert wire.fired == 0
    proxy.die()
    await downs.wait()


async def test_renewal_finds_a_listener_that_closed_quietly(
    proxy: Proxy, wire_to: WireTo, downs: Downs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that stops gracefully closes its listener and serves the connections it has."""
    monkeypatch.setattr("edgenode.health.tripwire.RENEW", 0.1)
    wire = wire_to(proxy.endpoint)
    await asyncio.sleep(0.01)
    proxy.accept()
    proxy.server.close()
    await downs.wait()
    assert wire.fired == 0


async def test_target_that_is_gone_when_the_wire_is_armed(
    closed: Endpoint, wire_to: WireTo, downs: Downs
) -> None:
    wire_to(closed)
    assert downs.reasons == [f"connection to {closed} refused"]


async def test_error_of_ours_does_not_end_the_watch(
    proxy: Proxy, wire_to: WireTo, downs: Downs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgenode.health.wire.LONGEST_PAUSE", 0.1)
    wire = wire_to(proxy.endpoint)
    await asyncio.sleep(0.01)
    with monkeypatch.context() as patch:
        patch.setattr("edgenode.health.sockets.connect_now", lambda *_: 1 / 0)
        proxy.accept()
        proxy.close_connections()
        await asyncio.sleep(0.05)
        assert wire.fired == 1
    proxy.die()
    await downs.wait()
    assert len(downs.reasons) == 1


async def test_disarmed_wire_is_gone(
    proxy: Proxy, wire_to: WireTo, downs: Downs, descriptors: Callable[[], int]
) -> None:
    before = descriptors()
    wire = wire_to(proxy.endpoint)
    assert descriptors() == before + 1
    wire.disarm()
    assert descriptors() == before
    proxy.die()
    await asyncio.sleep(0.05)
    assert downs.reasons == []


async def test_a_listener_that_defers_its_accepts_is_heard_after_a_second(
    wire_to: WireTo, downs: Downs
) -> None:
    """TCP_DEFER_ACCEPT: before that, the kernel drops an idle connection without a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        server.listen()
        wire_to(Endpoint(ip_address("127.0.0.1"), server.getsockname()[1]))
        await asyncio.sleep(1.3)
    await downs.wait()
