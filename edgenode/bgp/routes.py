"""What ``show route ... all`` says, as values; and the questions of which it is the answer. Pure.

Attributes are called ``BGP.as_path`` in BIRD 2 and ``bgp_path`` in BIRD 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from edgenode.bgp.levels import Level
from edgenode.bgp.names import session_name
from edgenode.bgp.replies import Reply
from edgenode.config import Neighbor
from edgenode.config.values import Network

GRACEFUL_SHUTDOWN = (65535, 0)
"""RFC 8326."""

_ROUTE = re.compile(
    r"(?P<prefix>[0-9a-fA-F.:]+/\d+)?\s+(?:unicast|blackhole|unreachable|prohibited)\b.*?"
    r"\[(?P<protocol>\w+) "
)
_ATTRIBUTE = re.compile(r"\s+(?:BGP\.|bgp_)(?P<name>as_path|path|community): (?P<value>.*)")
_PAIR = re.compile(r"\((\d+),\s*(\d+)\)")
_NUMBER = re.compile(r"\d+")
_NOTHING_THERE = 8001


@dataclass(frozen=True)
class Route:
    """One route of a table."""

    prefix: str
    protocol: str
    path: tuple[int, ...] = ()
    communities: frozenset[tuple[int, int]] = frozenset()

    @property
    def shutting_down(self) -> bool:
        """Whether its origin is about to withdraw it."""
        return GRACEFUL_SHUTDOWN in self.communities


def ask_sent(neighbor: Neighbor, prefix: Network) -> str:
    """What was sent to a neighbor of a prefix.

    With ``export table on`` BIRD keeps what went to the session, after all filters; ``show route
    export`` would only run the filter again.
    """
    channel = f"{session_name(neighbor.name)}.ipv{neighbor.address.version}"
    return f"show route {prefix} all export table {channel}"


def ask_received(neighbor: Neighbor) -> str:
    """What a neighbor has sent us, and was taken."""
    return f"show route all protocol {session_name(neighbor.name)}"


def parse_routes(reply: Reply) -> list[Route]:
    """The routes of a reply, in its order; none for one that says that there is none.

    Raises ValueError for a reply that is a refusal.
    """
    if reply.failed and reply.code != _NOTHING_THERE:
        raise ValueError(reply.lines[-1].text)
    routes: list[Route] = []
    prefix = ""
    for line in reply.lines:
        if head := _ROUTE.match(line.text):
            prefix = head["prefix"] or prefix
            routes.append(Route(prefix, head["protocol"]))
        elif routes and (attribute := _ATTRIBUTE.fullmatch(line.text)):
            routes[-1] = _with(routes[-1], attribute["name"], attribute["value"])
    return routes


def as_told(level: Level, routes: Iterable[Route]) -> bool:
    """Whether what a neighbor was sent of a prefix is what a level means."""
    routes = list(routes)
    match level:
        case Level.WITHDRAWN:
            return not routes
        case Level.DRAINED:
            return bool(routes) and all(route.shutting_down for route in routes)
        case Level.NORMAL | Level.DEGRADED:
            told = {route.protocol.rpartition("_")[2] for route in routes}
            return told == {level.value}


def _with(route: Route, name: str, value: str) -> Route:
    if name == "community":
        pairs = frozenset((int(a), int(b)) for a, b in _PAIR.findall(value))
        return Route(route.prefix, route.protocol, route.path, pairs)
    path = tuple(int(number) for number in _NUMBER.findall(value))
    return Route(route.prefix, route.protocol, path, route.communities)
