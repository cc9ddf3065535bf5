"""The HTTP probe against small servers on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgenode.config import Endpoint, HttpCheck
from edgenode.health.http import HttpProbe
from edgenode.health.observation import Observation

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def probe(url: str, **values: Any) -> HttpProbe:
    return HttpProbe(HttpCheck(name="c", type="http", url=url, **{"timeout": 1.0, **values}))


async def get(endpoint: Endpoint, path: str = "/health", **values: Any) -> Observation:
    return await probe(f"http://{endpoint}{path}", **values)()


async def test_request_is_a_plain_get(answering: Callable[..., Endpoint]) -> None:
    seen: list[bytes] = []
    endpoint = answering(OK, seen=seen)
    assert (await get(endpoint, "/health?x=1", host="example.net")).ok
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
    assert (await get(endpoint, status=(200, 503))).ok


@pytest.mark.parametrize(
    ("answer", "clause", "timed"),
    [
        (b"", "closed before", True),
        (b"HTTP/1.1 200 OK\r\nX: y", "closed before", True),
        (b"220 mail ESMTP\r\n\r\n", "malformed HTTP/1", False),
        (b"\x16\x03\x01" * 100, "malformed HTTP/1", False),
        (b"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n", "malformed HTTP/1", False),
        (b"HTTP/1.1 200 OK\r\n" + b"X: yyyyyyyy\r\n" * 3000, "malformed HTTP/1", False),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3000, "more than 16 KiB", False),
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
    observation = await get(answering(b"HTTP/1.1 2", hold=True), timeout=0.15)
    assert (observation.ok, observation.timed) == (False, True)
    assert "no answer within 150 ms" in observation.reason


CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nready\r\n"


@pytest.mark.parametrize(
    ("answer", "values", "most"),
    [
        (OK, {}, 0.1),
        (OK.replace(b"ok", b"ok" + bytes(60_000)).replace(b": 2", b": 60002"), {}, 0.1),
        (OK, {"body": {"contains": "ok"}}, 0.1),
        (OK, {"body": {"regex": "^ok$"}}, 0.1),
        (CHUNKS + b"0\r\n\r\n", {"body": {"regex": "ready"}}, 0.1),
        (b"HTTP/1.1 204 No Content\r\n\r\n", {"status": (204,)}, 0.1),
        # The verdict is certain, and the answer has no end: a moment for the target to close.
        (CHUNKS, {}, 0.4),
        (CHUNKS, {"body": {"contains": "ready"}}, 0.4),
        (OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), {}, 0.4),
    ],
)
async def test_a_server_that_holds_on_does_not_keep_a_certain_verdict(
    answering: Callable[..., Endpoint], answer: bytes, values: dict[str, Any], most: float
) -> None:
    started = time.monotonic()
    seen = await get(answering(answer, hold=True), **values)
    assert seen.ok, seen.reason
    assert time.monotonic() - started < most


async def test_huge_body_is_read_within_bounds(answering: Callable[..., Endpoint]) -> None:
    endpoint = answering(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(50 * 1024 * 1024))
    started = time.monotonic()
    assert (await get(endpoint, timeout=5.0)).ok
    assert time.monotonic() - started < 1.0


async def test_refused(closed: Endpoint) -> None:
    observation = await get(closed)
    assert (observation.ok, observation.timed) == (False, False)
    assert "refused" in observation.reason


async def test_a_thousand_probes_leave_no_descriptor(
    answering: Callable[..., Endpoint], descriptors: Callable[[], int]
) -> None:
    endpoint = answering(OK)
    one = probe(f"http://{endpoint}/")
    await one()
    # The server of this test lives in the same process: count only what is left when it is idle.
    before = descriptors()
    for _ in range(1000):
        assert (await one()).ok
    time.sleep(0.05)  # noqa: ASYNC251
    assert descriptors() <= before + 1


CHUNKED = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nX-Ready: no\r\nx-ready: Yes, all\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"6;x=y\r\nstatus\r\n4\r\n: ok\r\n0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("values", "ok", "why"),
    [
        ({"body": {"contains": "status: ok"}}, True, ""),
        ({"body": {"contains": "status: OK"}}, False, 'must contain "status: OK"'),
        ({"body": {"regex": "(?i)STATUS: (ok|fine)$"}}, True, ""),
        ({"body": {"regex": "^ok"}}, False, 'must match "^ok" and begins "status: ok"'),
        ({"headers": [{"name": "X-READY", "contains": "Yes"}]}, True, ""),
        ({"headers": [{"name": "x-ready", "regex": "^yes"}]}, False, 'X-ready is "no"'),
        ({"headers": [{"name": "x-gone"}]}, False, "header x-gone is missing"),
        ({"headers": [{"name": "x-ready"}], "body": {"contains": "ok"}}, True, ""),
    ],
)
async def test_headers_and_body_of_a_chunked_answer_behind_an_interim_one(
    answering: Callable[..., Endpoint], values: dict[str, Any], ok: bool, why: str
) -> None:
    seen = await get(answering(CHUNKED), **values)
    assert seen.ok is ok, seen.reason
    assert why.lower() in seen.reason.lower()


@pytest.mark.parametrize("body", [{"contains": "okay"}, {"regex": "^ok$"}])
async def test_a_body_that_is_cut_off_is_no_match(
    answering: Callable[..., Endpoint], body: dict[str, str]
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nok"
    seen = await get(answering(answer), body=body)
    assert not seen.ok
    assert "without sending complete message body" in seen.reason


async def test_a_part_is_found_across_chunks(answering: Callable[..., Endpoint]) -> None:
    answer = CHUNKS + b"3\r\n: y\r\n2\r\nes\r\n0\r\n\r\n"
    assert (await get(answering(answer), body={"contains": "ready: yes"})).ok
    assert not (await get(answering(answer), body={"contains": "ready:yes"})).ok


@pytest.mark.parametrize("size", [1, 3000])
async def test_an_endless_body_is_read_within_bounds(
    answering: Callable[..., Endpoint], size: int
) -> None:
    chunk = f"{size:x}\r\n".encode() + b"a" * size + b"\r\n"
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * (
        2**23 // len(chunk)
    )
    endpoint = answering(answer)
    started = time.monotonic()
    tracemalloc.start()
    try:
        seen = await get(endpoint, timeout=5.0, body={"contains": "b"})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not seen.ok
    assert 'begins "aaa' in seen.reason
    assert time.monotonic() - started < 3.0
    assert peak < 2 * 2**20, "bytes: not what the server sends"


async def test_a_body_that_never_comes_is_a_timeout(answering: Callable[..., Endpoint]) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    seen = await get(answering(answer, hold=True), timeout=0.2, body={"contains": "ok"})
    assert (seen.ok, seen.timed) == (False, True)


async def test_a_pattern_that_others_would_choke_on_takes_no_time(
    answering: Callable[..., Endpoint],
) -> None:
    endpoint = answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 60_000)
    started = time.monotonic()
    assert not (await get(endpoint, body={"regex": "(a|aa)+(a*)*b"})).ok
    assert time.monotonic() - started < 0.5


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    values = {"unix_socket": path, "host": "app", "timeout": 0.3}
    gone = await probe("http://127.0.0.1/", **values)()
    assert (gone.ok, gone.timed) == (False, False)
    assert gone.reason == f"connection to {path} failed: No such file or directory"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(0)
        with answered(server, OK) as seen:
            assert (await probe("http://127.0.0.1/ready", **values)()).ok
        assert seen[0].startswith(b"GET /ready HTTP/1.1\r\nHost: app\r\n")
        hung = await probe("http://127.0.0.1/", **values)()
        assert (hung.ok, hung.timed) == (False, True), "nobody accepts"
        full = await probe("http://127.0.0.1/", **values)()
        assert full.reason == f"connection to {path} failed: its queue is full"
    refused = await probe("http://127.0.0.1/", **values)()
    assert refused.reason == f"connection to {path} refused"


@contextlib.contextmanager
def answered(server: socket.socket, answer: bytes) -> Iterator[list[bytes]]:
    """One request is answered."""
    seen: list[bytes] = []

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            seen.append(connection.recv(4096))
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    yield seen
    thread.join(5)
