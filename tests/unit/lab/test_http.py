"""Replies in pieces, and words for failures."""

from __future__ import annotations

import errno
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.lab.http import BadReply, Reply, request, word

REPLY = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\nX: y\r\n\r\n{"edge": "lon"}'


@given(st.sets(st.integers(1, len(REPLY) - 1)))
def test_a_reply_is_complete_with_its_last_byte(cuts: set[int]) -> None:
    bounds = [0, *sorted(cuts), len(REPLY)]
    reply = Reply()
    done = [reply.feed(REPLY[a:b]) for a, b in pairwise(bounds)]
    assert done == [False] * (len(done) - 1) + [True]


def test_bodies() -> None:
    def body(head: str, text: bytes) -> object:
        reply = Reply()
        assert reply.feed(f"HTTP/1.1 {head}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
        return reply.body()

    assert body("200 OK", b'{"a": 1}') == {"a": 1}
    assert body("200 OK", b"[1]") == {"value": [1]}
    assert body("200 OK", bytes(100_000)) == {"bytes": 100_000}
    with pytest.raises(BadReply, match="status 502"):
        body("502 Bad Gateway", b"{}")
    with pytest.raises(BadReply, match="no JSON"):
        body("200 OK", b"hello")


@pytest.mark.parametrize("text", [b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\r\n\r\n"])
def test_what_is_no_reply(text: bytes) -> None:
    with pytest.raises(BadReply, match="no HTTP"):
        Reply().feed(text)


def test_words() -> None:
    assert word(OSError(errno.ECONNREFUSED, "x")) == "refused"
    assert word(ConnectionResetError(errno.ECONNRESET, "x")) == "reset"
    assert word(OSError(errno.ENETUNREACH, "x")) == "unreachable"
    assert word(TimeoutError()) == "timeout"
    assert word(EOFError()) == "eof"
    assert word(BadReply("status 502")) == "status 502"


def test_the_request_names_its_host() -> None:
    assert b"Host: [2001:db8::1]\r\nConnection: close" in request("2001:db8::1", "/", keep=False)
    assert request("192.0.2.1", "/x", keep=True).startswith(b"GET /x HTTP/1.1\r\n")
