from __future__ import annotations

from ipaddress import ip_address
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.proxyprotocol import SIGNATURE, Header, ProxyProtocolError, decode, encode

ports = st.integers(0, 65535)


def endpoints(version: Literal[4, 6]) -> st.SearchStrategy[tuple[str, int]]:
    return st.tuples(st.ip_addresses(v=version).map(str), ports)


pairs = st.tuples(endpoints(4), endpoints(4)) | st.tuples(endpoints(6), endpoints(6))


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


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_decoded_or_refused(data: bytes, signed: bool) -> None:
    try:
        header = decode(SIGNATURE + data if signed else data)
    except ProxyProtocolError:
        return
    assert header is None or header.size >= 16


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
    assert decode(SIGNATURE + b"\x20\x11\x00\x00") == Header(None, None, 16)
    assert decode(SIGNATURE + b"\x21\x31\x00\x01x") == Header(None, None, 17)


def test_additional_fields_are_skipped() -> None:
    data = encode(("192.0.2.1", 1), ("192.0.2.2", 2))
    longer = data[:14] + (12 + 5).to_bytes(2, "big") + data[16:] + b"\x04\x00\x02ab"
    assert decode(longer) == Header(("192.0.2.1", 1), ("192.0.2.2", 2), 33)


@pytest.mark.parametrize(
    "data", [b"GET", SIGNATURE + b"\x11\x11\x00\x00", SIGNATURE + b"!\x11\0\0"]
)
def test_refused(data: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        decode(data)
