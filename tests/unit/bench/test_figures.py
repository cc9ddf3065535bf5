"""Figures from captures: the right packet is taken, and what is missing is named."""

from __future__ import annotations

import json
import struct
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.figures import (
    ANNOUNCE,
    KILL,
    MARK_PORT,
    OUTAGE,
    RETURN,
    TOLD,
    WITHDRAW,
    FiguresError,
    Mark,
    collect,
    document,
    goals,
    marks,
    once,
    report,
    summary,
)

SPEAKER, UPSTREAM, SERVICE, USER = "198.51.100.5", "198.51.100.4", "198.18.1.1", "198.51.100.9"
OTHER = "198.51.100.7"
PREFIX = "198.18.1.0/24"
RAW_PREFIX = bytes([24, 198, 18, 1])
SYN, DATA = 0x02, 0x18


def mark(event: str, at: float, service: str = SERVICE, run: str = "01") -> Mark:
    return Mark(run, "edgenode", event, at, SPEAKER, PREFIX, service)


def ipv4(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    return head + ip_address(source).packed + ip_address(destination).packed + payload


def tcp(
    source: str, sport: int, destination: str, dport: int, seq: int, flags: int, data: bytes = b""
) -> bytes:
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, 0, 0x50, flags, 100, 0, 0)
    return ipv4(source, destination, 6, head + data)


def datagram(payload: bytes, port: int = MARK_PORT) -> bytes:
    head = struct.pack("!HHHH", 40000, port, 8 + len(payload), 0)
    return ipv4("127.0.0.1", "127.0.0.1", 17, head + payload)


def update(withdrawn: bytes = b"", attributes: bytes = b"", nlri: bytes = b"") -> bytes:
    sizes = len(withdrawn).to_bytes(2, "big"), len(attributes).to_bytes(2, "big")
    body = sizes[0] + withdrawn + sizes[1] + attributes + nlri
    return b"\xff" * 16 + (19 + len(body)).to_bytes(2, "big") + b"\x02" + body


WITHDRAWN = update(withdrawn=RAW_PREFIX)
ORIGIN_AND_HOP = b"\x40\x01\x01\x00" + b"\x40\x03\x04" + ip_address(SPEAKER).packed
ANNOUNCED = update(attributes=ORIGIN_AND_HOP, nlri=RAW_PREFIX)


class Wire:
    """A BGP session's packets, in the order in which they are written down."""

    def __init__(self) -> None:
        self.packets: list[tuple[float, bytes]] = []
        self._sequence: dict[str, int] = {}

    def say(self, time: float, message: bytes, source: str = SPEAKER) -> None:
        sequence = self._sequence.get(source, 1)
        self._sequence[source] = sequence + len(message)
        self.packets.append((time, tcp(source, 179, UPSTREAM, 4000, sequence, DATA, message)))

    def mark(self, told: Mark, time: float = 0.0) -> None:
        self.packets += [(time, datagram(told.to_bytes()))] * 2


def request(started: float, port: int, answered: float | None) -> list[tuple[float, bytes]]:
    packets = [(started, tcp(USER, port, SERVICE, 80, 1, SYN))]
    if answered is not None:
        reply = b"HTTP/1.1 200 OK\r\n\r\n"
        packets.append((answered, tcp(SERVICE, 80, USER, port, 1, DATA, reply)))
    return packets


def write(path: Path, packets: list[tuple[float, bytes]]) -> None:
    path.parent.mkdir(exist_ok=True)
    records = b"".join(
        struct.pack("<IIII", int(at), round(at % 1 * 1e6), len(p) + 14, len(p) + 14)
        + b"\0" * 14
        + p
        for at, p in packets
    )
    path.write_bytes(b"\xd4\xc3\xb2\xa1" + struct.pack("<HHIIII", 2, 4, 0, 0, 65535, 1) + records)


def a_run(directory: Path) -> Wire:
    """Killed at 100, withdrawn after 2 ms; back at 110, announced after 500 ms.

    Another run was under way at the same time.
    """
    wire = Wire()
    wire.say(90.0, WITHDRAWN)  # an earlier one
    wire.say(91.0, ANNOUNCED)
    wire.say(100.001, WITHDRAWN, OTHER)
    wire.say(100.002, WITHDRAWN)
    wire.mark(mark(KILL, 100.0, run=directory.name))
    wire.mark(mark(KILL, 100.0015, run="another"))
    wire.say(110.5, ANNOUNCED)
    wire.mark(mark(RETURN, 110.0, run=directory.name))
    wire.mark(mark(RETURN, 109.0, run="another"))
    write(directory / "lon.pcap", wire.packets)
    users = [
        *request(99.99, 1, 100.01),  # begun before: no witness
        *request(100.001, 2, None),
        *request(100.011, 3, 100.170),
        *request(100.021, 4, 100.180),
    ]
    write(directory / "par.pcap", sorted(users))
    return wire


def test_a_run_is_measured(tmp_path: Path) -> None:
    a_run(tmp_path / "01")
    case, figures = once(tmp_path / "01")
    assert case == "edgenode"
    assert figures == pytest.approx({WITHDRAW: 2.0, ANNOUNCE: 500.0, OUTAGE: 170.0}, abs=0.01)


def test_where_bird_is_told_the_withdraw_counts_from_then(tmp_path: Path) -> None:
    wire = a_run(tmp_path / "01")
    wire.mark(mark(TOLD, 100.0015))
    write(tmp_path / "01" / "lon.pcap", wire.packets)
    assert once(tmp_path / "01")[1][WITHDRAW] == pytest.approx(0.5, abs=0.01)


def test_without_a_service_users_are_not_looked_at(tmp_path: Path) -> None:
    wire = Wire()
    wire.mark(mark(KILL, 1.0, service=""))
    wire.say(1.5, WITHDRAWN)
    wire.mark(mark(RETURN, 2.0, service=""))
    wire.say(2.25, ANNOUNCED)
    write(tmp_path / "01" / "lon.pcap", wire.packets)
    assert once(tmp_path / "01")[1] == pytest.approx({WITHDRAW: 500, ANNOUNCE: 250}, abs=0.01)


def test_what_a_capture_lacks_is_named(tmp_path: Path) -> None:
    wire = Wire()
    wire.mark(mark(KILL, 1.0))
    write(tmp_path / "01" / "lon.pcap", wire.packets)
    with pytest.raises(FiguresError, match="it has kill"):
        once(tmp_path / "01")
    wire.mark(mark(RETURN, 2.0))
    write(tmp_path / "01" / "lon.pcap", wire.packets)
    write(tmp_path / "01" / "par.pcap", [])
    with pytest.raises(FiguresError, match=WITHDRAW):
        once(tmp_path / "01")


def test_marks_are_told_once_and_other_packets_are_none(tmp_path: Path) -> None:
    wire = Wire()
    wire.mark(mark(KILL, 1.0))
    wire.say(2.0, WITHDRAWN)
    wire.packets.append((3.0, datagram(b"{}", port=53)))
    wire.packets.append((3.0, b"\x60" + b"\0" * 40))
    write(tmp_path / "lon.pcap", wire.packets)
    assert marks(tmp_path / "lon.pcap") == [mark(KILL, 1.0)]


def test_the_document_comes_from_the_captures_alone(tmp_path: Path) -> None:
    for name in ("01-00", "02-00"):
        a_run(tmp_path / name)
    told = json.loads(json.dumps(document(tmp_path, ["a note"])))
    assert told[WITHDRAW]["edgenode"]["median"] == pytest.approx(2.0, abs=0.01)
    assert told["runs"] == {"edgenode": 2}
    assert told["notes"] == ["a note"]


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_a_summary_is_in_order_and_within_the_values(values: list[float]) -> None:
    figures = summary(values)
    assert figures["min"] <= figures["median"] <= figures["max"]
    assert figures["min"] == round(min(values), 3)
    assert figures["max"] == round(max(values), 3)


def test_no_values_are_no_summary() -> None:
    with pytest.raises(ValueError, match="no values"):
        summary([])


def test_goals_compare_medians() -> None:
    def told(edgenode: float) -> dict[str, bool]:
        figures = {"floor": 0.4, "edgenode": edgenode, "a 1s": 250.0, "b 1s": 400.0, "b 0.1s": 50.0}
        runs = [(case, {WITHDRAW: value}) for case, value in figures.items()]
        return {goal.text: goal.reached for goal in goals(report(collect(runs)))}

    assert all(told(2.3).values())
    assert len(told(2.3)) == 4
    assert [text for text, reached in told(2.6).items() if not reached] == [
        "our median is 2.20 ms above the floor's, at most 2 ms",
        "96 times faster than a 1s, at least 100 times",
        "19 times faster than b 0.1s, at least 20 times",
    ]
