"""The HTTP probe against small servers on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from edgenode.config import Endpoint, ProbeUrl
from edgenode.health.http import HttpProbe
from edgenode.health.observation import Observation

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def get(
    endpoint: Endpoint,
    *,
    target: str = "/health",
    host: str | None = None,
    statuses: tuple[int, ...] = (200,),
    limit: float = 1.0,
) -> Observation:
    return await HttpProbe(ProbeUrl(endpoint, target), host, statuses, limit)()


async def test_request_is_a_plain_get(answering: Callable[..., Endpoint]) -> None:
    seen: list[bytes] = []
    endpoint = answering(OK, seen=seen)
    assert (await get(endpoint, target="/health?x=1", host="example.net")).ok
    assert (await get(endpoint)).ok
    lines = seen[0].decode().split("\r\n")
    assert lines[0] == "GET /health?x=1 HTTP/1.1"
    assert "Host: example.net" in lines
    assert "Connection: close" in lines
    assert f"Host: {endpoint}" in seen[1].decode().split("\r\n")


async def test_status_decides(answering: Callable[..., Endpoint]) -> None:
    endpoint = answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
    observation = await get(endpoint)
    assert not observation.ok
    assert not observation.timed
    assert observation.reason == f"GET http://{endpoint}/health: status 503"
    assert (await get(endpoint, statuses=(200, 503))).ok


@pytest.mark.parametrize(
    ("answer", "clause", "timed"),
    [
        (b"", "closed before", True),
        (b"HTTP/1.1 200 OK\r\nX: y", "closed before", True),
        (b"220 mail ESMTP\r\n", "no HTTP/1", False),
        (b"HTTP/1.1 200 OK\r\n" + b"X: yyyyyyyy\r\n" * 3000, "more than 16 KiB", False),
    ],
)
async def test_failures_say_why(
    answering: Callable[..., Endpoint], answer: bytes, clause: str, timed: bool
) -> None:
    observation = await get(answering(answer))
    assert not observation.ok
    assert clause in observation.reason
    assert observation.timed is timed


async def test_silent_server_is_a_timeout(answering: Callable[..., Endpoint]) -> None:
    observation = await get(answering(b"HTTP/1.1 2", hold=True), limit=0.15)
    assert (observation.ok, observation.timed) == (False, True)
    assert "no answer within 150 ms" in observation.reason


async def test_body_without_end_does_not_change_the_verdict(
    answering: Callable[..., Endpoint],
) -> None:
    started = time.monotonic()
    assert (await get(answering(OK, hold=True), limit=0.2)).ok
    assert time.monotonic() - started < 0.5


async def test_huge_body_is_read_within_bounds(answering: Callable[..., Endpoint]) -> None:
    endpoint = answering(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(50 * 1024 * 1024))
    started = time.monotonic()
    assert (await get(endpoint, limit=5.0)).ok
    assert time.monotonic() - started < 1.0


async def test_refused(closed: Endpoint) -> None:
    observation = await get(closed)
    assert (observation.ok, observation.timed) == (False, False)
    assert "refused" in observation.reason


async def test_a_thousand_probes_leave_no_descriptor(
    answering: Callable[..., Endpoint], descriptors: Callable[[], int]
) -> None:
    endpoint = answering(OK)
    probe = HttpProbe(ProbeUrl(endpoint, "/"), None, (200,), 1.0)
    await probe()
    # The server of this test lives in the same process: count only what is left when it is idle.
    before = descriptors()
    for _ in range(1000):
        assert (await probe()).ok
    time.sleep(0.05)  # noqa: ASYNC251
    assert descriptors() <= before + 1
