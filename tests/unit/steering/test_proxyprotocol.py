from __future__ import annotations

from ipaddress import ip_address
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.crc32c import crc32c
from edgenode.steering.proxyprotocol import (
    ALPN,
    AUTHORITY,
    CRC32C,
    LONGEST,
    SIGNATURE,
    UNIQUE_ID,
    UNSUMMED,
    Endpoint,
    Header,
    ProxyProtocolError,
    decode,
    encode,
    encode_v1,
    field,
    summed,
)

ports = st.integers(0, 65535)


def endpoints(version: Literal[4, 6]) -> st.SearchStrategy[tuple[str, int]]:
    return st.tuples(st.ip_addresses(v=version).map(str), ports)


pairs = st.tuples(endpoints(4), endpoints(4)) | st.tuples(endpoints(6), endpoints(6))


def with_checksum(source: Endpoint, destination: Endpoint, fields: bytes) -> bytes:
    """The checksum last."""
    header = encode(source, destination, fields + UNSUMMED)
    return summed(header, len(header) - len(UNSUMMED))


def packed(header: Header) -> tuple[object, object]:
    # The text of some IPv6 addresses differs between Python and the C library.
    def one(endpoint: tuple[str, int] | None) -> object:
        return endpoint and (ip_address(endpoint[0]), endpoint[1])

    return one(header.source), one(header.destination)


@given(pairs, st.binary(max_size=20))
def test_round_trip(pair: tuple[tuple[str, int], tuple[str, int]], rest: bytes) -> None:
    data = encode(*pair)
    header = decode(data + rest)
    assert header is not None
    assert packed(header) == packed(Header(*pair, size=0))
    assert header.size == len(data)


@given(pairs, st.data())
def test_any_beginning_asks_for_more(
    pair: tuple[tuple[str, int], tuple[str, int]], data: st.DataObject
) -> None:
    whole = encode(*pair)
    assert decode(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None


@given(st.binary(max_size=80), st.sampled_from((b"", SIGNATURE, b"PROXY ", b"PROXY TCP4 ")))
def test_any_bytes_are_decoded_or_refused(data: bytes, signature: bytes) -> None:
    try:
        header = decode(signature + data)
    except ProxyProtocolError:
        return
    assert header is None or 8 <= header.size <= len(signature + data)


@given(pairs, st.data())
def test_a_spoiled_byte_is_refused_or_found_by_the_checksum(
    pair: tuple[tuple[str, int], tuple[str, int]], data: st.DataObject
) -> None:
    whole = with_checksum(*pair, field(AUTHORITY, b"a.example"))
    at = data.draw(st.integers(16, len(whole) - 1))
    spoiled = bytearray(whole)
    spoiled[at] ^= data.draw(st.integers(1, 255))
    try:
        header = decode(bytes(spoiled))
    except ProxyProtocolError:
        return
    # Only a checksum that is no checksum any more is not looked at.
    assert at == len(whole) - 7
    assert header is not None


def test_known_bytes_ipv4() -> None:
    assert encode(("192.0.2.1", 51000), ("203.0.113.1", 443)) == bytes.fromhex(
        "0d0a0d0a000d0a515549540a 21 11 000c c0000201 cb007101 c738 01bb"
    )


def test_known_bytes_ipv6_with_scope() -> None:
    assert encode(("fe80::1%eth0", 1), ("2001:db8::1", 2)) == bytes.fromhex(
        "0d0a0d0a000d0a515549540a 21 21 0024"
        "fe800000000000000000000000000001 20010db8000000000000000000000001 0001 0002"
    )


def test_local_and_other_families_have_no_addresses() -> None:
    assert decode(SIGNATURE + b"\x20\x11\x00\x00") == Header(None, None, 16, local=True)
    # Of a sender that speaks for itself the family is to be ignored.
    assert decode(SIGNATURE + b"\x20\xff\x00\x00") == Header(None, None, 16, local=True)
    assert decode(SIGNATURE + b"\x21\x31\x00\x01x") == Header(None, None, 17)
    assert decode(SIGNATURE + b"\x21\x00\x00\x00") == Header(None, None, 16)


def test_additional_fields_are_skipped() -> None:
    data = encode(("192.0.2.1", 1), ("192.0.2.2", 2))
    longer = data[:14] + (12 + 5).to_bytes(2, "big") + data[16:] + b"\x04\x00\x02ab"
    assert decode(longer) == Header(("192.0.2.1", 1), ("192.0.2.2", 2), 33)


FOUR = (("192.0.2.1", 1), ("192.0.2.2", 2))


def test_additional_fields_are_told() -> None:
    fields = field(AUTHORITY, b"A.example") + field(ALPN, b"h2") + field(UNIQUE_ID, b"\xff1")
    data = with_checksum(*FOUR, fields + field(0xEE, b"?"))
    assert decode(data + b"rest") == Header(
        *FOUR, len(data), authority="a.example", alpn="h2", unique_id="\xff1"
    )


def test_a_name_that_is_none_is_not_told() -> None:
    for name in (b"", b"a b", b"\xff", b"a" * 256):
        header = decode(encode(*FOUR, field(AUTHORITY, name)))
        assert header is not None
        assert header.authority == ""


@pytest.mark.parametrize(
    "fields",
    [
        b"\x02",
        b"\x02\x00",
        b"\x02\x00\x01",
        field(CRC32C, b"123"),
        field(CRC32C, bytes(4)),
        field(UNIQUE_ID, bytes(129)),
        field(0xEE, bytes(LONGEST)),
    ],
)
def test_malformed_fields_are_refused(fields: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        decode(encode(*FOUR, fields))


def test_the_checksum_is_the_one_of_iscsi() -> None:
    """RFC 3720, appendix B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


# --- version 1


@given(pairs, st.binary(max_size=20))
def test_round_trip_of_version_1(
    pair: tuple[tuple[str, int], tuple[str, int]], rest: bytes
) -> None:
    data = encode_v1(*pair)
    assert len(data) <= 107
    header = decode(data + rest)
    assert header is not None
    assert packed(header) == packed(Header(*pair, size=0))
    assert header.size == len(data)
    for end in range(len(data)):
        assert decode(data[:end]) is None


def test_known_lines() -> None:
    line = b"PROXY TCP4 192.0.2.1 203.0.113.1 51000 443\r\n"
    assert encode_v1(("192.0.2.1", 51000), ("203.0.113.1", 443)) == line
    unknown = b"PROXY UNKNOWN ffff::1 whatever 1\r\n"
    assert decode(b"PROXY UNKNOWN\r\nrest") == Header(None, None, 15)
    assert decode(unknown) == Header(None, None, len(unknown))


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2",
        b"PROXY TCP4 192.0.2.\xff 192.0.2.2 1 2",
        b"PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2",
        b"PROXY UNKNOWNS",
        b"PROXY UNKNOWN " + bytes(100),
    ],
)
def test_lines_that_are_none_are_refused(line: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        decode(line + b"\r\n")


@pytest.mark.parametrize(
    "data", [b"GET", SIGNATURE + b"\x11\x11\x00\x00", SIGNATURE + b"!\x41\0\0", b"PROXX"]
)
def test_refused(data: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        decode(data)
