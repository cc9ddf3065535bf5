"""The TCP probe against sockets on loopback."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from edgenode.config import Endpoint
from edgenode.health import sockets
from edgenode.health.tcp import TcpProbe

EndpointOf = Callable[[socket.socket], Endpoint]


async def test_accepting_target_is_up(
    listener: socket.socket, listener_v6: socket.socket, endpoint_of: EndpointOf
) -> None:
    for server in (listener, listener_v6):
        observation = await TcpProbe(endpoint_of(server), 0.5)()
        assert observation.ok
        assert str(endpoint_of(server)) in observation.reason


async def test_refused_is_a_failure_that_no_lateness_excuses(closed: Endpoint) -> None:
    observation = await TcpProbe(closed, 0.5)()
    assert not observation.ok
    assert not observation.timed
    assert observation.reason == f"connection to {closed} refused"


async def test_full_accept_queue_is_a_timeout(endpoint_of: EndpointOf) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        with socket.create_connection(server.getsockname()):
            started = time.monotonic()
            observation = await TcpProbe(endpoint_of(server), 0.2)()
            assert time.monotonic() - started == pytest.approx(0.2, abs=0.1)
    assert not observation.ok
    assert observation.timed
    assert "no answer within 200 ms" in observation.reason


def time_waits(port: int) -> int:
    """Sockets in TIME_WAIT (state 06) with this port on either side."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(r[3] == "06" and f":{port:04X}" in (r[1][-5:], r[2][-5:]) for r in rows)


async def test_a_thousand_probes_leave_nothing_behind(
    listener: socket.socket,
    closed: Endpoint,
    endpoint_of: EndpointOf,
    descriptors: Callable[[], int],
) -> None:
    probes = [TcpProbe(endpoint_of(listener), 0.5), TcpProbe(closed, 0.5)]
    before = descriptors()
    for _ in range(500):
        for probe in probes:
            await probe()
        listener.accept()[0].close()
    assert descriptors() == before
    assert time_waits(endpoint_of(listener).port) == 0


async def test_cancelled_probe_leaves_nothing_behind(
    endpoint_of: EndpointOf, descriptors: Callable[[], int]
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        with socket.create_connection(server.getsockname()):
            before = descriptors()
            task = asyncio.ensure_future(TcpProbe(endpoint_of(server), 5)())
            await asyncio.sleep(0.05)
            assert descriptors() == before + 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert descriptors() == before


async def test_want_of_descriptors_is_no_verdict_on_the_target(
    listener: socket.socket, endpoint_of: EndpointOf
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.open("/dev/null", os.O_RDONLY)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        with pytest.raises(OSError) as error:  # noqa: PT012
            for _ in range(100):
                await TcpProbe(endpoint_of(listener), 0.5)()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert error.value.errno == errno.EMFILE


def test_a_connection_to_itself_counts_as_refused() -> None:
    """A probe of a dead port in the ephemeral range may be given that very port as its own."""
    own = Endpoint(ip_address("127.0.0.1"), 0)
    with sockets.open_stream(own) as sock:
        sock.bind(("127.0.0.1", 0))
        own = Endpoint(own.host, sock.getsockname()[1])
        assert sockets.connect_now(sock, own) == errno.ECONNREFUSED
        assert sockets.connected_to_itself(sock, own)


def test_no_route_is_explained() -> None:
    text = sockets.explain(Endpoint(ip_address("192.0.2.1"), 80), errno.ENETUNREACH)
    assert text == "connection to 192.0.2.1:80 failed: Network is unreachable"
