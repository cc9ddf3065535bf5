"""Count the demo's figures again from its captures, with nothing of the lab's own code.

BGP is decoded with scapy's layer, packet by packet; TCP is followed by ports.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from scapy.contrib.bgp import BGPHeader, BGPUpdate, bgp_module_conf
from scapy.layers.inet import IP, TCP
from scapy.utils import PcapReader

bgp_module_conf.use_2_bytes_asn = False

SYN, RST, FIN, ACK = 0x02, 0x04, 0x01, 0x10


@dataclass
class Flow:
    """One connection of a user; times are UNIX time."""

    syn: float
    answers: list[float] = field(default_factory=list)
    """When bytes of an answer with status 200 came."""
    reset: float | None = None
    ended: float | None = None
    """When the user closed it."""


@dataclass(frozen=True)
class Told:
    """An UPDATE for IPv4."""

    time: float
    source: str
    announced: frozenset[str]
    withdrawn: frozenset[str]
    communities: frozenset[tuple[int, int]]


def flows(pcap: Path, server: str) -> list[Flow]:
    """A user's connections to port 80 of a server, by the time of their first SYN."""
    found: dict[int, Flow] = {}
    done: list[Flow] = []
    for packet in PcapReader(str(pcap)):
        if IP not in packet or TCP not in packet:
            continue
        ip, tcp, time = packet[IP], packet[TCP], float(packet.time)
        if ip.dst == server and tcp.dport == 80 and tcp.flags & SYN and not tcp.flags & ACK:
            known = found.get(tcp.sport)
            # A SYN that is sent again belongs to the same connection.
            if known is None or known.answers or known.reset:
                found[tcp.sport] = Flow(time)
                done.append(found[tcp.sport])
        elif ip.dst == server and tcp.dport == 80 and tcp.flags & (FIN | RST):
            if (flow := found.get(tcp.sport)) and flow.ended is None:
                flow.ended = time
        elif ip.src == server and tcp.sport == 80 and (flow := found.get(tcp.dport)):
            if tcp.flags & RST and flow.reset is None:
                flow.reset = time
            if b"HTTP/1.1 200" in bytes(tcp.payload):
                flow.answers.append(time)
    return done


def told(pcap: Path) -> list[Told]:
    """The IPv4 UPDATEs in a capture, in order."""
    updates = []
    for packet in PcapReader(str(pcap)):
        if IP not in packet or TCP not in packet:
            continue
        data = bytes(packet[TCP].payload)
        while data.startswith(b"\xff" * 16) and len(data) >= 19:
            length = int.from_bytes(data[16:18], "big")
            message = BGPHeader(data[:length])
            data = data[length:]
            if BGPUpdate in message:
                updates.append(_told(float(packet.time), packet[IP].src, message[BGPUpdate]))
    return updates


def _told(time: float, source: str, update: Any) -> Told:
    communities = {
        divmod(int.from_bytes(raw[start : start + 4], "big"), 1 << 16)
        for attribute in update.path_attr
        if attribute.type_code == 8
        for raw in [bytes(attribute.attribute)]
        for start in range(0, len(raw) - 3, 4)
    }
    return Told(
        time,
        source,
        frozenset(str(ip_network(str(nlri.prefix))) for nlri in update.nlri),
        frozenset(str(ip_network(str(route.prefix))) for route in update.withdrawn_routes),
        frozenset(communities),
    )


def by_edge(updates: list[Told], neighbors: dict[str, str]) -> dict[str, list[Told]]:
    """The UPDATEs by the edge that sent them; `neighbors`: address → edge."""
    sorted_out: dict[str, list[Told]] = defaultdict(list)
    for update in updates:
        if update.source in neighbors:
            sorted_out[neighbors[update.source]].append(update)
    return sorted_out
