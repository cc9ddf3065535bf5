"""From a capture to TCP segments, and from segments to each direction's stream. Pure but for the
file: cooked captures (LINKTYPE_LINUX_SLL2, as the lab takes them) and Ethernet.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

SLL2 = 276
ETHERNET = 1
_TCP = 6
_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}

SYN, FIN, RST, ACK = 0x02, 0x01, 0x04, 0x10


Host = IPv4Address | IPv6Address


class Flow(NamedTuple):
    """One direction of a TCP connection."""

    source: Host
    source_port: int
    destination: Host
    destination_port: int


class Segment(NamedTuple):
    """A TCP segment; `time` is UNIX time (CLOCK_REALTIME)."""

    time: float
    flow: Flow
    sequence: int
    flags: int
    payload: bytes


def frames(path: Path) -> Iterator[tuple[float, int, bytes]]:
    """Time, link type and bytes of each packet of a pcap file (pcap-savefile(5)).

    A record that is cut off at the end of the file ends it. Raises ValueError for another format.
    """
    with path.open("rb") as file:
        head = file.read(24)
        if head[:4] not in _MAGIC:
            raise ValueError(f"{path} is no pcap file")
        order, unit = _MAGIC[head[:4]]
        (linktype,) = struct.unpack(order + "I", head[20:24])
        record = struct.Struct(order + "IIII")
        while len(header := file.read(16)) == 16:
            seconds, fraction, length, _ = record.unpack(header)
            data = file.read(length)
            if len(data) < length:
                return
            yield seconds + fraction * unit, linktype & 0x0FFFFFFF, data


def _network(linktype: int, frame: bytes) -> bytes:
    if linktype == SLL2:
        return frame[20:]
    if linktype == ETHERNET:
        return frame[14:]
    raise ValueError(f"link type {linktype} is not read here")


def packets(path: Path) -> Iterator[tuple[float, bytes]]:
    """Time and bytes of each packet of a capture, from the network layer on."""
    for time, linktype, frame in frames(path):
        yield time, _network(linktype, frame)


def hosts(packet: bytes) -> tuple[Host, Host]:
    """Source and destination of an IP packet. Raises ValueError for anything else."""
    start, size = {4: (12, 4), 6: (8, 16)}.get(packet[0] >> 4 if packet else 0, (0, 0))
    middle = start + size
    return ip_address(packet[start:middle]), ip_address(packet[middle : middle + size])


def dissect(time: float, packet: bytes) -> Segment | None:
    """The TCP segment in an IP packet; None for anything else, a fragment, or a damaged one."""
    try:
        source, destination = hosts(packet)
        if source.version == 4:
            if packet[9] != _TCP or struct.unpack_from("!H", packet, 6)[0] & 0x3FFF:
                return None
            start = (packet[0] & 0xF) * 4
            end = struct.unpack_from("!H", packet, 2)[0] or len(packet)
        elif packet[6] == _TCP:
            start = 40
            # 0 is a packet beyond 64 KiB, which segmentation offload shows to a capture.
            end = 40 + (struct.unpack_from("!H", packet, 4)[0] or len(packet) - 40)
        else:
            return None
        sport, dport, sequence, _, offset, flags = struct.unpack_from("!HHIIBB", packet, start)
    except (IndexError, ValueError, struct.error):
        return None
    payload = packet[start + (offset >> 4) * 4 : end]
    return Segment(time, Flow(source, sport, destination, dport), sequence, flags, payload)


def segments(path: Path, port: int | None = None) -> Iterator[Segment]:
    """The TCP segments of a capture, in the order of the file; of one port only, if given."""
    for time, packet in packets(path):
        segment = dissect(time, packet)
        if segment is not None and port in (
            None,
            segment.flow.source_port,
            segment.flow.destination_port,
        ):
            yield segment


@dataclass
class Stream:
    """The bytes of one flow, in order: repeats are dropped, early segments wait for their turn."""

    expected: int | None = None
    early: dict[int, bytes] = field(default_factory=dict)

    def add(self, segment: Segment) -> bytes:
        """What this segment completes."""
        if segment.flags & SYN:
            self.expected = (segment.sequence + 1) % 2**32
            self.early.clear()
            return b""
        if self.expected is None:  # the capture began within the connection
            self.expected = segment.sequence
        if segment.payload:
            waiting = self.early.get(segment.sequence, b"")
            self.early[segment.sequence] = max(waiting, segment.payload, key=len)
        ready = bytearray()
        while (piece := self._next()) is not None:
            ready += piece
        return bytes(ready)

    def _next(self) -> bytes | None:
        assert self.expected is not None
        for sequence, data in list(self.early.items()):
            # Distance behind what is expected, modulo 2^32: negative means ahead.
            behind = (self.expected - sequence + 2**31) % 2**32 - 2**31
            if behind >= 0:
                del self.early[sequence]
                if behind < len(data):
                    fresh = data[behind:]
                    self.expected = (self.expected + len(fresh)) % 2**32
                    return fresh
        return None
