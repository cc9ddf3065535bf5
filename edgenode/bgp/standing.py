"""How BIRD stands beside what is wanted of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgenode.bgp.levels import Level
from edgenode.bgp.protocols import (
    Protocol,
    Session,
    agrees,
    level_in_force,
    parse_protocols,
    sessions,
)
from edgenode.bgp.replies import Reply
from edgenode.config import Config, Group


@dataclass(frozen=True)
class Status:
    """What BIRD says, beside what is wanted."""

    connected: bool
    version: str
    """Of BIRD; empty before the first connection."""
    problem: str
    """Why BIRD is not as wanted, as a sentence; empty: all is well."""
    wanted: Mapping[str, Level]
    actual: Mapping[str, Level]
    """By group, of the families that BIRD knows; empty without a connection."""
    in_force: Mapping[str, bool]
    """By group that was given a level: whether BIRD does just that, in each family."""
    sessions: tuple[Session, ...]
    agrees: bool
    """Whether BIRD does exactly what is wanted."""


def stand(config: Config, wanted: Mapping[str, Level], reply: Reply | None) -> Status:
    """By a reply to `show protocols`; without version and problem, of which that says nothing."""
    groups = {group.name: group for group in config.groups}
    rows = parse_protocols(reply) if reply else {}
    against = set(disagreeing(groups, wanted, rows))
    return Status(
        connected=reply is not None,
        version="",
        problem="",
        wanted=wanted,
        actual={n: level_in_force(g, rows) for n, g in groups.items()} if rows else {},
        in_force={name: name not in against for name in wanted} if rows else {},
        sessions=sessions(config.bgp.neighbors, rows),
        agrees=reply is not None and not against,
    )


def disagreeing(
    groups: Mapping[str, Group], wanted: Mapping[str, Level], rows: Mapping[str, Protocol]
) -> list[str]:
    """The groups that BIRD does not have at just the level that is wanted."""
    return [name for name, level in wanted.items() if not agrees(groups[name], level, rows)]
