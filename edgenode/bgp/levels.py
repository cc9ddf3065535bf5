"""How a prefix group stands towards the world, and the way from each standing to each other.

    level       enabled in BIRD   the neighbor sees
    WITHDRAWN   nothing           no route
    DRAINED     ..._drained       the route with GRACEFUL_SHUTDOWN and prepends
    DEGRADED    ..._degraded      the route with prepends and a higher MED
    NORMAL      ..._normal        the route

Each level but WITHDRAWN is a static protocol of its own in BIRD (see `render`), and a level is
in force when its protocol is the only one that is enabled. Since the more cautious protocol has
the higher preference, the way to a new level is always the same: enable its protocol, *then*
disable the others, the least preferred first. In this order the neighbor sees one UPDATE and never
a withdraw in between (measured with 2.0.12, 2.17 and 3.1); the other order would be a withdraw and
an announcement.
"""

from __future__ import annotations

from enum import StrEnum


class Level(StrEnum):
    """A group's announcement."""

    NORMAL = "normal"
    """Announced as it is."""
    DEGRADED = "degraded"
    """Announced with prepends and a higher MED: for who has nothing nearer."""
    DRAINED = "drained"
    """Announced with GRACEFUL_SHUTDOWN (RFC 8326) and prepends: chosen only for want of better."""
    WITHDRAWN = "withdrawn"
    """Not announced."""


STANDING: dict[Level, int] = {Level.NORMAL: 200, Level.DEGRADED: 205, Level.DRAINED: 210}
"""The levels that are protocols in BIRD, and the preference of their routes; disabled in this
order, so that a withdraw never lets a less preferred level show for a moment."""

CAUTION = (Level.WITHDRAWN, Level.DRAINED, Level.DEGRADED, Level.NORMAL)
"""From the level that attracts nobody to the one that attracts everybody."""


def steps(level: Level) -> tuple[tuple[str, Level], ...]:
    """What to do to a group's protocols, in order, to bring a level in force from any other."""
    enable = tuple(("enable", each) for each in STANDING if each is level)
    return enable + tuple(("disable", each) for each in STANDING if each is not level)


def most_cautious(*levels: Level) -> Level:
    """The one that attracts the fewest; NORMAL of none."""
    return min(levels, key=CAUTION.index, default=Level.NORMAL)


def more_cautious(level: Level, than: Level) -> bool:
    """Whether a level attracts fewer than another."""
    return CAUTION.index(level) < CAUTION.index(than)
