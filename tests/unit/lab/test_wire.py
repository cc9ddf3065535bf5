"""BGP messages from streams: cut anywhere, several at once, both families."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from edgenode.lab.segments import Flow
from edgenode.lab.wire import decode, messages

FLOW = Flow(ip_address("198.51.100.5"), 179, ip_address("198.51.100.4"), 40000)


def message(kind: int, body: bytes) -> bytes:
    return b"\xff" * 16 + (19 + len(body)).to_bytes(2, "big") + bytes([kind]) + body


def attribute(kind: int, value: bytes, flags: int = 0x40) -> bytes:
    return bytes([flags, kind, len(value)]) + value


def update(withdrawn: bytes = b"", attributes: bytes = b"", nlri: bytes = b"") -> bytes:
    sizes = len(withdrawn).to_bytes(2, "big"), len(attributes).to_bytes(2, "big")
    return message(2, sizes[0] + withdrawn + sizes[1] + attributes + nlri)


WEB4 = bytes([24, 203, 0, 113])
WEB6 = bytes([48, 0x20, 0x01, 0x0D, 0xB8, 0x01, 0x13])
ASN = (64700).to_bytes(4, "big")
PATH = attribute(2, bytes([2, 2]) + ASN + ASN)
SHUTDOWN = attribute(8, b"\xff\xff\x00\x00" + b"\xfc\x59\x00\x07", 0xC0)
KEEPALIVE = message(4, b"")


def test_an_announcement_with_all_that_matters() -> None:
    med = attribute(4, (70).to_bytes(4, "big"), 0x80)
    hop = attribute(3, bytes([198, 51, 100, 5]))
    wire = update(attributes=attribute(1, b"\0") + PATH + hop + med + SHUTDOWN, nlri=WEB4)
    found = decode(1.5, FLOW, wire)
    assert found is not None
    assert (found.time, found.source) == (1.5, FLOW.source)
    assert (found.announced, found.withdrawn) == (("203.0.113.0/24",), ())
    assert found.as_path == (64700, 64700)
    assert found.communities == {(65535, 0), (64601, 7)}
    assert (found.med, found.next_hop) == (70, "198.51.100.5")


def test_a_withdraw() -> None:
    found = decode(0.0, FLOW, update(withdrawn=WEB4 + bytes([24, 192, 0, 2])))
    assert found is not None
    assert found.withdrawn == ("203.0.113.0/24", "192.0.2.0/24")
    assert found.announced == ()


def test_ipv6_comes_in_attributes() -> None:
    hop = ip_address("2001:db8::1").packed
    for hops in (hop, hop + ip_address("fe80::1").packed):
        reach = b"\0\2\1" + bytes([len(hops)]) + hops + b"\0" + WEB6
        found = decode(0.0, FLOW, update(attributes=PATH + attribute(14, reach, 0x80)))
        assert found is not None
        assert found.announced == ("2001:db8:113::/48",)
        assert found.next_hop == "2001:db8::1"
    found = decode(0.0, FLOW, update(attributes=attribute(15, b"\0\2\1" + WEB6, 0x80)))
    assert found is not None
    assert found.withdrawn == ("2001:db8:113::/48",)


def test_other_messages_are_no_updates() -> None:
    assert decode(0.0, FLOW, KEEPALIVE) is None


@given(st.data())
def test_messages_cut_anywhere_are_found_once(draw: st.DataObject) -> None:
    kinds = [KEEPALIVE, update(withdrawn=WEB4), update(attributes=PATH, nlri=WEB4)]
    sent = draw.draw(st.lists(st.sampled_from(kinds), max_size=6))
    wire = b"".join(sent)
    cuts = sorted(draw.draw(st.sets(st.integers(0, len(wire)))) | {0, len(wire)})
    buffer, got = bytearray(), []
    for start, end in zip(cuts, [*cuts[1:], len(wire)], strict=True):
        buffer += wire[start:end]
        got += list(messages(buffer))
    assert got == sent
    assert not buffer


def test_a_capture_may_begin_within_a_message() -> None:
    buffer = bytearray(b"rest of a message" + KEEPALIVE)
    assert list(messages(buffer)) == [KEEPALIVE]
    buffer = bytearray(b"\xff" * 16 + b"\0\1\2" + KEEPALIVE)
    assert list(messages(buffer)) == [KEEPALIVE]
