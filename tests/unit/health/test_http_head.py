"""The head of a response: examples, and that no bytes upset it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.health.http_head import LIMIT, parse_status

GOOD = {
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok": 200,
    b"HTTP/1.0 404 Not Found\r\n\r\n": 404,
    b"HTTP/1.1 204\r\n\r\n": 204,
    b"HTTP/1.1 503 \r\n\r\n": 503,
    b"HTTP/1.1 200 OK\n\n": 200,
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    b"HTTP/1.1 301 Moved\r\n\r\n": 301,
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n": 101,
}


@pytest.mark.parametrize(("data", "status"), GOOD.items())
def test_status_however_the_bytes_arrive(data: bytes, status: int) -> None:
    assert parse_status(data) == status
    answers = [parse_status(data[:end]) for end in range(len(data) + 1)]
    first = answers.index(status)
    assert answers == [None] * first + [status] * (len(answers) - first)


@pytest.mark.parametrize(
    ("data", "clause"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP/1"),
        (b"HTTP/2 200\r\n", "no HTTP/1"),
        (b"X", "no HTTP/1"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "malformed"),
        (b"HTTP/1.1 abc\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * LIMIT, "more than 16 KiB"),
        (b"HTTP/1.1 100 Continue\r\n\r\nGARBAGE", "no HTTP/1"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, clause: str) -> None:
    with pytest.raises(ValueError, match=clause):
        parse_status(data)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda b: b"HTTP/1.1 200" + b))
def test_any_bytes_give_a_status_a_wait_or_a_value_error(data: bytes) -> None:
    try:
        status = parse_status(data)
    except ValueError:
        return
    assert status is None or 100 <= status <= 599
