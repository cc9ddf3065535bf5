"""From captures to figures: all that `./run bench withdraw` tells is computed here, from the
packets and from nothing else.

Each run of a case has a directory with two captures: `lon.pcap`, the upstream's wire, and
`par.pcap`, what a user sent and got. When something was done is in the first one as well: a
datagram to the discard port that holds the moment (`Mark`). All times are of one clock.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from edgenode.lab.segments import SYN, Flow, packets, segments
from edgenode.lab.wire import Update, updates

UPSTREAM, USER = "lon", "par"
"""Where the captures are taken, and how their files are called."""

MARK_PORT = 9
"""discard (RFC 863)"""
WIRE = f"tcp port 179 or udp port {MARK_PORT}"
REQUESTS = "tcp port 80"
"""What the two captures hold, as tcpdump's expressions."""

KILL, TOLD, RETURN = "kill", "told", "return"
"""Events: the proxy dies, BIRD is told to withdraw (where nothing has to find that out), and the
proxy accepts connections again, or BIRD is told to announce."""

_UDP = 17

WITHDRAW, ANNOUNCE, OUTAGE = "kill_to_withdraw_ms", "return_to_announce_ms", "user_outage_ms"
KINDS = (WITHDRAW, ANNOUNCE, OUTAGE)

Summary = dict[str, float]
Report = dict[str, dict[str, Summary]]


class FiguresError(Exception):
    """A capture does not hold what it should; the text says which, and what is missing."""


@dataclass(frozen=True)
class Mark:
    """Something was done at `at` (UNIX time) to the speaker that announces `prefix`.

    `run` is the name of the run's directory: several may be under way, and each one's capture
    has the marks of all.
    """

    run: str
    case: str
    event: str
    at: float
    speaker: str
    prefix: str
    service: str
    """The address that users ask; empty: they are not looked at."""

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Mark:
        """Raises ValueError, TypeError for what `to_bytes` did not make."""
        return cls(**json.loads(data))


def marks(path: Path) -> list[Mark]:
    """The marks of a capture, in their order, each once (loopback shows it twice)."""
    found = {}
    for _, packet in packets(path):
        payload = _datagram(packet)
        if payload is not None:
            found[payload] = Mark.from_bytes(payload)
    return list(found.values())


def _datagram(packet: bytes) -> bytes | None:
    """The payload of an IPv4 UDP packet to the port of marks."""
    if len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != _UDP:
        return None
    start = (packet[0] & 0xF) * 4
    if int.from_bytes(packet[start + 2 : start + 4], "big") != MARK_PORT:
        return None
    length = int.from_bytes(packet[start + 4 : start + 6], "big")
    return packet[start + 8 : start + length]


def withdrawn_at(seen: Iterable[Update], mark: Mark) -> float | None:
    """When the speaker withdrew the prefix, first after the mark."""
    return _first(seen, mark, lambda update: update.withdrawn)


def announced_at(seen: Iterable[Update], mark: Mark) -> float | None:
    """When the speaker announced the prefix, first after the mark."""
    return _first(seen, mark, lambda update: update.announced)


def _first(
    seen: Iterable[Update], mark: Mark, prefixes: Callable[[Update], tuple[str, ...]]
) -> float | None:
    source = ip_address(mark.speaker)
    times = (
        update.time
        for update in seen
        if update.time >= mark.at and update.source == source and mark.prefix in prefixes(update)
    )
    return min(times, default=None)


def served_at(path: Path, mark: Mark) -> float | None:
    """When the user had the first answer to a request begun after the mark."""
    service = ip_address(mark.service)
    begun: dict[Flow, float] = {}
    for segment in segments(path, 80):
        flow = segment.flow
        if flow.destination == service and segment.flags & SYN:
            # A SYN that is sent again begins nothing.
            begun.setdefault(flow, segment.time)
        elif flow.source == service and segment.payload.startswith(b"HTTP/1.1 200"):
            request = Flow(flow.destination, flow.destination_port, flow.source, flow.source_port)
            if begun.get(request, 0.0) >= mark.at:
                return segment.time
    return None


def once(directory: Path) -> tuple[str, dict[str, float]]:
    """The case of one run, and its figures in milliseconds. Raises FiguresError."""
    path = directory / f"{UPSTREAM}.pcap"
    found = {mark.event: mark for mark in marks(path) if mark.run == directory.name}
    if not {KILL, RETURN} <= found.keys():
        raise FiguresError(f"{path}: a mark is missing, it has {', '.join(found) or 'none'}")
    kill, back = found[KILL], found[RETURN]
    told = found.get(TOLD, kill)
    seen = updates(path)
    moments = {
        WITHDRAW: (told.at, withdrawn_at(seen, told)),
        ANNOUNCE: (back.at, announced_at(seen, back)),
    }
    if kill.service:
        moments[OUTAGE] = (kill.at, served_at(directory / f"{USER}.pcap", kill))
    figures = {}
    for kind, (begin, end) in moments.items():
        if end is None:
            raise FiguresError(f"{directory}: no end of {kind} in the captures ({kill.case})")
        figures[kind] = (end - begin) * 1000
    return kill.case, figures


def runs(directory: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """All runs below a directory. Raises FiguresError."""
    for path in sorted(directory.glob(f"*/{UPSTREAM}.pcap")):
        yield once(path.parent)


def collect(found: Iterable[tuple[str, Mapping[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """Kind → case → the figures of all runs, in their order."""
    result: dict[str, dict[str, list[float]]] = {kind: {} for kind in KINDS}
    for case, figures in found:
        for kind, value in figures.items():
            result[kind].setdefault(case, []).append(value)
    return result


def summary(values: Iterable[float]) -> Summary:
    """Least, middle and greatest, to the microsecond. Raises ValueError for no values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    figures = {"min": ordered[0], "median": statistics.median(ordered), "max": ordered[-1]}
    return {name: round(value, 3) for name, value in figures.items()}


def report(collected: Mapping[str, Mapping[str, list[float]]]) -> Report:
    """What the JSON says: kind → case → summary."""
    return {
        kind: {case: summary(values) for case, values in cases.items()}
        for kind, cases in collected.items()
    }


def document(directory: Path, notes: Iterable[str] = ()) -> dict[str, Any]:
    """The JSON of `--json`, from the captures alone. Raises FiguresError.

    `notes` say what was compared, and what could not be.
    """
    collected = collect(runs(directory))
    counts = {case: len(values) for case, values in collected[WITHDRAW].items()}
    return {**report(collected), "runs": counts, "notes": list(notes)}


@dataclass(frozen=True)
class Goal:
    """What is promised of our withdraw, and whether it was kept."""

    text: str
    reached: bool


def goals(told: Report) -> list[Goal]:
    """The goals for our withdraw, as far as what they compare was measured."""
    cases = told[WITHDRAW]
    ours = cases.get("edgenode")
    if ours is None:
        return []
    found = [Goal(f"our maximum {ours['max']:.2f} ms is below 10 ms", ours["max"] < 10)]
    if floor := cases.get("floor"):
        over = ours["median"] - floor["median"]
        text = f"our median is {over:.2f} ms above the floor's, at most 2 ms"
        found.append(Goal(text, over <= 2))
    for setting, factor in (("1s", 100), ("0.1s", 20)):
        peers = {name: s["median"] for name, s in cases.items() if name.endswith(f" {setting}")}
        if peers:
            best = min(peers, key=peers.__getitem__)
            ratio = peers[best] / ours["median"]
            text = f"{ratio:.0f} times faster than {best}, at least {factor} times"
            found.append(Goal(text, ratio >= factor))
    return found
