"""BGP as it was on the wire: UPDATE messages from a capture, decoded with scapy."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from edgenode.lab.segments import Flow, Stream, segments

# Its BGP layer warns at import that it takes AS numbers for two bytes, which is set right below.
logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

from scapy.contrib import bgp  # noqa: E402

PORT = 179
_MARKER = b"\xff" * 16
_HEADER = 19
_UPDATE = 2
_LIMIT = 65535  # RFC 8654

# BIRD speaks four-byte AS numbers (RFC 6793).
bgp.bgp_module_conf.use_2_bytes_asn = False


@dataclass(frozen=True)
class Update:
    """An UPDATE; `time` is UNIX time at which its last byte passed. Prefixes are text."""

    time: float
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    announced: tuple[str, ...]
    withdrawn: tuple[str, ...]
    as_path: tuple[int, ...] = ()
    communities: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    large: frozenset[tuple[int, int, int]] = field(default_factory=frozenset)
    med: int | None = None
    next_hop: str | None = None


def messages(data: bytearray) -> Iterator[bytes]:
    """Take the complete BGP messages off the start of a stream (RFC 4271, section 4.1).

    What stands before the first marker is skipped: a capture may begin within a message.
    """
    while True:
        start = data.find(_MARKER)
        if start < 0:
            del data[: max(0, len(data) - len(_MARKER) + 1)]
            return
        del data[:start]
        if len(data) < _HEADER:
            return
        length = int.from_bytes(data[16:18], "big")
        if not _HEADER <= length <= _LIMIT:
            del data[:1]
            continue
        if len(data) < length:
            return
        message = bytes(data[:length])
        del data[:length]
        yield message


def decode(time: float, flow: Flow, message: bytes) -> Update | None:
    """The UPDATE in a message, None for one of another type."""
    if message[18] != _UPDATE:
        return None
    update = bgp.BGPUpdate(message[_HEADER:])
    announced = [str(nlri.prefix) for nlri in update.nlri]
    withdrawn = [str(route.prefix) for route in update.withdrawn_routes]
    found: dict[str, Any] = {}
    for attribute in update.path_attr:
        value = attribute.attribute
        match attribute.type_code:
            case 2:  # AS_PATH
                found["as_path"] = tuple(
                    int(asn) for part in value.segments for asn in part.segment_value
                )
            case 3:  # NEXT_HOP
                found["next_hop"] = str(value.next_hop)
            case 4:  # MULTI_EXIT_DISC
                found["med"] = int(value.med)
            case 8:  # COMMUNITY (RFC 1997): 32 bits, the halves are written apart
                pairs = (divmod(number, 1 << 16) for number in _words(value))
                found["communities"] = frozenset(pairs)
            case 32:  # LARGE_COMMUNITY (RFC 8092)
                words = [*_words(value)]
                found["large"] = frozenset(zip(words[::3], words[1::3], words[2::3], strict=True))
            case 14:  # MP_REACH_NLRI (RFC 4760)
                announced += [str(nlri.prefix) for nlri in value.nlri]
                # With a link-local address beside it (32 bytes) the global one has another name.
                found["next_hop"] = str(value.nh_v6_global or value.nh_v6_addr)
            case 15:  # MP_UNREACH_NLRI
                withdrawn += [str(r.prefix) for r in value.afi_safi_specific.withdrawn_routes]
    return Update(time, flow.source, flow.destination, tuple(announced), tuple(withdrawn), **found)


def _words(value: Any) -> Iterator[int]:
    raw = bytes(value)
    for start in range(0, len(raw) - 3, 4):
        yield int.from_bytes(raw[start : start + 4], "big")


def updates(path: Path) -> list[Update]:
    """All UPDATE messages of a capture, in the order in which they passed."""
    streams: dict[Flow, Stream] = defaultdict(Stream)
    pending: dict[Flow, bytearray] = defaultdict(bytearray)
    found = []
    for segment in segments(path, PORT):
        fresh = streams[segment.flow].add(segment)
        if segment.flags & 0x02:
            pending[segment.flow].clear()
        if fresh:
            buffer = pending[segment.flow]
            buffer += fresh
            for message in messages(buffer):
                update = decode(segment.time, segment.flow, message)
                if update is not None:
                    found.append(update)
    return found
