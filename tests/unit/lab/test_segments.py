"""Segments and streams: what TCP may do to the order of bytes is undone."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.lab.segments import SYN, Flow, Segment, Stream, dissect, frames, hosts, segments

FLOW = Flow(ip_address("192.0.2.1"), 179, ip_address("192.0.2.2"), 4000)


def segment(sequence: int, payload: bytes, flags: int = 0x10) -> Segment:
    return Segment(0.0, FLOW, sequence % 2**32, flags, payload)


@given(
    data=st.binary(min_size=1, max_size=300),
    start=st.integers(0, 2**32 - 1),
    draw=st.data(),
)
def test_any_order_with_repeats_gives_the_stream(
    data: bytes, start: int, draw: st.DataObject
) -> None:
    cuts = sorted(draw.draw(st.sets(st.integers(0, len(data)))) | {0, len(data)})
    pieces = [(a, data[a:b]) for a, b in pairwise(cuts)]
    repeats = draw.draw(st.lists(st.sampled_from(pieces), max_size=5))
    # A repeat may be cut otherwise than the first time.
    longer = [(offset, data[offset : offset + 2 * len(piece)]) for offset, piece in repeats]
    order = draw.draw(st.permutations(pieces + repeats + longer))
    stream = Stream()
    got = stream.add(segment(start - 1, b"", SYN))
    for offset, piece in order:
        got += stream.add(segment(start + offset, piece))
    assert got == data
    assert not stream.early


def test_a_capture_may_begin_within_a_connection() -> None:
    stream = Stream()
    assert stream.add(segment(1000, b"ab")) == b"ab"
    assert stream.add(segment(1002, b"cd")) == b"cd"


def ipv4(tcp: bytes, fragment: int = 0) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, fragment, 64, 6, 0)
    return head + bytes([192, 0, 2, 1]) + bytes([192, 0, 2, 2]) + tcp


TCP = struct.pack("!HHIIBBHHH", 179, 4000, 7, 0, 0x50, 0x18, 100, 0, 0)


def test_dissecting() -> None:
    assert dissect(1.5, ipv4(TCP + b"hello") + b"padding") == Segment(1.5, FLOW, 7, 0x18, b"hello")
    v6 = (
        struct.pack("!IHBB", 0x60000000, len(TCP) + 2, 6, 64)
        + bytes(15)
        + b"\1"
        + bytes(15)
        + b"\2"
    )
    found = dissect(0.0, v6 + TCP + b"hi")
    assert found is not None
    assert found.payload == b"hi"
    assert str(found.flow.source) == "::1"
    assert [str(host) for host in hosts(v6)] == ["::1", "::2"]


@pytest.mark.parametrize("packet", [b"", b"\x45", b"\x60" + bytes(30), b"\x10" * 60])
def test_what_is_no_packet_has_no_hosts(packet: bytes) -> None:
    with pytest.raises(ValueError, match="address"):
        hosts(packet)


@pytest.mark.parametrize("packet", [b"", b"\x45", ipv4(TCP, 0x2000), ipv4(b"")[:20], b"\x10" * 60])
def test_what_is_no_segment_is_none(packet: bytes) -> None:
    assert dissect(0.0, packet) is None


@given(st.binary(max_size=120))
def test_garbage_never_raises(packet: bytes) -> None:
    dissect(0.0, packet)


def write_pcap(path: Path, packets: list[bytes], linktype: int = 276, tail: bytes = b"") -> None:
    text = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, linktype)
    for number, packet in enumerate(packets):
        text += struct.pack("<IIII", 100 + number, 250_000, len(packet), len(packet)) + packet
    path.write_bytes(text + tail)


def test_reading_a_capture_that_is_still_written(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    cooked = bytes(20) + ipv4(TCP + b"hello")
    write_pcap(path, [cooked, cooked], tail=struct.pack("<IIII", 102, 0, 500, 500) + b"half")
    found = list(segments(path))
    assert [s.time for s in found] == [100.25, 101.25]
    assert list(segments(path, port=4000)) == found
    assert list(segments(path, port=80)) == []


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(b"not a capture, but long enough")
    with pytest.raises(ValueError, match="no pcap file"):
        list(frames(path))
    write_pcap(path, [b"x"], linktype=147)
    with pytest.raises(ValueError, match="link type 147"):
        list(segments(path))
