"""PostgreSQL's first messages are told from all else, and from little."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering import postgresql


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("00000008 04d2162f"),  # SSLRequest
        bytes.fromhex("00000008 04d21630"),  # GSSENCRequest
        bytes.fromhex("00000010 04d2162e 00000001 00000002"),  # CancelRequest
        bytes.fromhex("0000000f 00030000") + b"user\0a\0",
    ],
)
def test_first_messages_are_known(data: bytes) -> None:
    assert postgresql.begins(data) is True
    assert [postgresql.begins(data[:end]) for end in range(1, 8)] == [None] * 7


@given(st.binary(min_size=8))
def test_other_bytes_are_none(data: bytes) -> None:
    assert postgresql.begins(data) is False


def test_the_answer_is_an_error_that_says_what_to_do() -> None:
    answer = postgresql.refusal()
    assert answer[:1] == b"E"
    assert int.from_bytes(answer[1:5], "big") == len(answer) - 1
    assert b"sslnegotiation=direct" in answer
