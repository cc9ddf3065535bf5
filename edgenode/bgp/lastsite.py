"""Whether another site announces a prefix of ours, as far as our neighbors tell. Pure.

BGP tells a site little about its sisters. A neighbor that prefers our route tells us of no other
(unless it sends additional paths, RFC 7911), and one that prefers another's sends us that one. So
a route of another site is proof that there is one; silence is none, but for a neighbor that does
tell us of other sites' prefixes and not of this one.

A route is another site's for certain only if it cannot be ours, come back: the AS that it entered
the world by is none of our neighbors; or it is the very neighbor that tells us, with which we have
just one session, for nobody sends a route back to where it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from edgenode.bgp.routes import Route
from edgenode.config import Neighbor

SHOWN = 5
"""Prefixes that a sentence names, of however many."""


class Outlook(StrEnum):
    ELSEWHERE = "elsewhere"
    """Another site announces it."""
    LAST = "last"
    """No other does, as far as those can tell that tell of others."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class View:
    """What one neighbor has sent us of our prefixes; `problem`: why nothing can be said."""

    neighbor: Neighbor
    routes: tuple[Route, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Judgement:
    """What is known of one prefix; `text` as a sentence, without a full stop."""

    outlook: Outlook
    text: str
    why: str = ""
    """Why it is not known, if it is not."""


def another_site(route: Route, view: View, asn: int, neighbors: Iterable[Neighbor]) -> bool:
    """Whether a route is certainly another site's, and is there to stay."""
    path = list(route.path)
    while path and path[-1] == asn:
        path.pop()
    if not path or route.shutting_down:
        return False
    sessions = [
        each
        for each in neighbors
        if each.asn == path[-1] and each.address.version == view.neighbor.address.version
    ]
    return not sessions or (len(set(path)) == 1 and sessions == [view.neighbor])


def judge(
    prefixes: Iterable[str], views: Iterable[View], asn: int, neighbors: Iterable[Neighbor]
) -> Mapping[str, Judgement]:
    """By prefix."""
    views, neighbors = list(views), list(neighbors)
    seen = {
        view.neighbor.name: {
            route.prefix for route in view.routes if another_site(route, view, asn, neighbors)
        }
        for view in views
    }
    return {prefix: _judge(prefix, views, seen) for prefix in prefixes}


def _judge(prefix: str, views: list[View], seen: Mapping[str, set[str]]) -> Judgement:
    if by := [name for name, prefixes in seen.items() if prefix in prefixes]:
        return Judgement(Outlook.ELSEWHERE, f"{prefix} is announced elsewhere ({', '.join(by)})")
    version = 6 if ":" in prefix else 4
    asked = [view for view in views if view.neighbor.address.version == version]
    if telling := [view.neighbor.name for view in asked if seen[view.neighbor.name]]:
        return Judgement(
            Outlook.LAST,
            f"{prefix} has no other site that is known here: {', '.join(telling)} shows other "
            "sites' prefixes, and none for this one",
        )
    if not asked:
        why = "no neighbor of this family is looked at (last_site_view)"
    else:
        why = ", ".join(
            f"{view.neighbor.name} {view.problem or 'tells nothing of other sites'}"
            for view in asked
        )
    return Judgement(Outlook.UNKNOWN, not_known([prefix], why), why)


def not_known(prefixes: Sequence[str], why: str) -> str:
    """One sentence for all of them."""
    more = f" and {len(prefixes) - SHOWN} more" if len(prefixes) > SHOWN else ""
    shown = ", ".join(prefixes[:SHOWN]) + more
    return f"whether another site announces {shown} is not known: {why}"
