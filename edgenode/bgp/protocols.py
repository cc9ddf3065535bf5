"""What ``show protocols`` says about our protocols, as values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from edgenode.bgp.levels import CAUTION, STANDING, Level
from edgenode.bgp.names import session_name, static_name
from edgenode.bgp.replies import Reply
from edgenode.config import Group, Neighbor

# Name, protocol, table, state, since, info. `since` follows BIRD's `timeformat protocol`, which is
# ours ("%Y-%m-%dT%H:%M:%S", no space) only once BIRD runs with our configuration.
_ROW = re.compile(
    r"(?P<name>\S+)\s+(?P<kind>\S+)\s+(?P<table>\S+)\s+(?P<state>\S+)\s+"
    r"(?P<since>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?|\S+)(?:\s+(?P<info>.*))?"
)
_ENTRY = 1002


@dataclass(frozen=True)
class Protocol:
    """A row of ``show protocols``."""

    name: str
    kind: str
    """``Static``, ``BGP``, ``Device``, …"""
    state: str
    """``up``, ``start``, ``stop``, ``flush``, ``down``."""
    since: str
    info: str


@dataclass(frozen=True)
class Session:
    """The BGP session with a neighbor."""

    neighbor: str
    state: str
    """The state of RFC 4271 (``Established``, ``Active``, …), or ``absent``: not in BIRD."""
    since: str = ""
    """In UTC, as ISO 8601 has it."""
    error: str = ""
    """Why it last ended, in BIRD's words."""

    @property
    def established(self) -> bool:
        return self.state == "Established"


def parse_protocols(reply: Reply) -> dict[str, Protocol]:
    """The rows of a ``show protocols`` reply by name, in its order."""
    rows = (_ROW.fullmatch(line.text.rstrip()) for line in reply.lines if line.code == _ENTRY)
    return {
        row["name"]: Protocol(
            row["name"], row["kind"], row["state"], row["since"], row["info"] or ""
        )
        for row in rows
        if row
    }


def sessions(
    neighbors: Iterable[Neighbor], protocols: Mapping[str, Protocol]
) -> tuple[Session, ...]:
    """The session of each neighbor."""
    return tuple(_session(n.name, protocols.get(session_name(n.name))) for n in neighbors)


def _session(neighbor: str, row: Protocol | None) -> Session:
    if row is None:
        return Session(neighbor, "absent")
    state, _, error = row.info.partition(" ")
    return Session(neighbor, state or row.state.capitalize(), _utc(row.since), error.strip())


def _utc(since: str) -> str:
    """BIRD tells the time of the machine's own zone, which is ours; all else is told in UTC."""
    try:
        local = datetime.fromisoformat(since)
    except ValueError:
        return since
    return f"{local.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def families(group: Group) -> tuple[int, ...]:
    """The IP versions of a group's prefixes."""
    return tuple(sorted({prefix.version for prefix in group.prefixes}))


def level_in_force(group: Group, protocols: Mapping[str, Protocol]) -> Level:
    """How a group stands in BIRD; if its families differ, the more cautious of their levels.

    A family that BIRD does not know (it was just added to the configuration) says nothing about
    the one that it does know.
    """
    levels = []
    for version in families(group):
        if not any(static_name(group.name, version, each) in protocols for each in STANDING):
            continue
        on = [level for level in STANDING if _is_on(group, version, level, protocols)]
        levels.append(max(on, key=STANDING.__getitem__, default=Level.WITHDRAWN))
    return min(levels, key=CAUTION.index, default=Level.WITHDRAWN)


def agrees(group: Group, level: Level, protocols: Mapping[str, Protocol]) -> bool:
    """Whether just the protocols of `level` are enabled, in each family."""
    return all(
        _is_on(group, version, each, protocols) == (each is level)
        for version in families(group)
        for each in STANDING
    )


def _is_on(group: Group, version: int, level: Level, protocols: Mapping[str, Protocol]) -> bool:
    row = protocols.get(static_name(group.name, version, level))
    return row is not None and is_enabled(row)


def is_enabled(row: Protocol) -> bool:
    """Whether a protocol is, or is about to be, at work."""
    return row.state in {"up", "start"}
