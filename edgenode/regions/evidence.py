"""Whose fault it is that a service's workers do not answer, and what may follow from it. Pure.

| what is known | cause | reachable |
|---|---|---|
| a worker answers | healthy | True |
| this node's relays serve nobody | my-node | False |
| no worker has been looked at yet | none-known | None |
| none answers here, a sibling is answered since; no tunnel of ours works | my-tunnel | False |
| none answers here, a sibling is answered since; our tunnels are fresh | my-node | False |
| none answers here, nor any sibling, and enough of them say so | everywhere | None |
| none answers here, and a sibling has not had the time to find out | none-known | None |
| none answers here, and every handshake is stale, or nothing is heard | my-tunnel | False |
| none answers here, and nobody says more | region | False |

`reachable` is what the announcements go by: False withdraws a group whose services are all so, and
None leaves it as it is. A node withdraws where others serve, or where nobody can tell; what is
dead for everybody stays, since to withdraw it everywhere would help nobody and delay its return.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

SLACK = 0.5
"""Seconds by which a datagram may be late, and a worker's answer."""
JITTER = 1.1
"""A probe comes after this many intervals at most."""


class Cause(StrEnum):
    """Where the fault lies."""

    HEALTHY = "healthy"
    NONE_KNOWN = "none-known"
    MY_NODE = "my-node"
    MY_TUNNEL = "my-tunnel"
    REGION = "region"
    EVERYWHERE = "everywhere"


@dataclass(frozen=True)
class RegionStands:
    """How a service's workers in one region stand, as this node sees them."""

    name: str
    up: int
    down: int
    unknown: int = 0
    way: str = ""
    """Why the way there is no good, by its handshake or its path; empty: nothing says so."""


@dataclass(frozen=True)
class Pace:
    """How quickly a service's probes find out; in seconds."""

    interval: float = 1.0
    timeout: float = 1.0
    fall: int = 2

    @property
    def margin(self) -> float:
        """By how much the last answers that two edges had before a common death may differ."""
        return self.interval * JITTER + SLACK

    @property
    def patience(self) -> float:
        """What the last of all edges needs to find a death, and to tell."""
        return (self.fall + 1) * self.interval * JITTER + self.timeout + 2 * SLACK


@dataclass(frozen=True)
class ServiceStands:
    """A service as this node sees it. Times are seconds of its monotonic clock."""

    reachable: bool | None
    """Whether a worker answers; None: none was looked at yet."""
    answered: float
    """When one last did, before all were down; or, where none ever did, when it was looked first.
    """
    since: float
    """Since when `reachable` is so, where it is False."""
    regions: tuple[RegionStands, ...] = ()
    pace: Pace = Pace()


@dataclass(frozen=True)
class Statement:
    """What a sibling that was heard just now says of a service."""

    sibling: str
    reachable: bool | None
    answered: float | None
    """When one of its workers last answered the sibling, by our clock."""


@dataclass(frozen=True)
class NodeStands:
    """What is known of this node as a whole."""

    trouble: str = ""
    """Why its relays serve nobody."""
    stale: bool = False
    """No peer of the mesh has a fresh handshake."""
    quiet: bool = False
    """Nothing is heard through the mesh: no worker of whatever service, and no sibling."""
    quorum: float = 0.5


@dataclass(frozen=True)
class Finding:
    """What is to be thought of a service."""

    cause: Cause
    reachable: bool | None
    text: str
    """For `why`, without figures that change by themselves."""


def judge(
    stands: ServiceStands,
    told: Sequence[Statement],
    voters: int,
    node: NodeStands,
    now: float,
) -> Finding:
    """The finding on one service.

    `told`: by siblings that were heard within the time that makes them count. `voters`: how many
    siblings steer this service, or may: those that say nothing are among them.
    """
    if node.trouble:
        return Finding(Cause.MY_NODE, False, node.trouble)
    if stands.reachable is None:
        return Finding(Cause.NONE_KNOWN, None, "no worker was looked at yet")
    if stands.reachable:
        return Finding(Cause.HEALTHY, True, _healthy(stands.regions))
    alive = [each.sibling for each in told if _answered_since(each, stands)]
    dead = [each.sibling for each in told if each.reachable is False]
    slow = [each.sibling for each in told if each.reachable and each.sibling not in alive]
    ways = _ways(stands.regions)
    if alive:
        text = f"{_names(alive)} {_verb(alive, 'reaches', 'reach')} its workers, this node does not"
        if node.stale or ways:
            return Finding(Cause.MY_TUNNEL, False, f"{text}: {ways or 'every handshake is stale'}")
        return Finding(Cause.MY_NODE, False, f"{text}, though its tunnels are fresh")
    if dead and len(dead) >= enough(node.quorum, voters):
        text = (
            f"no worker answers, and {_names(dead)} {_verb(dead, 'sees', 'see')} the same: dead "
            "for everybody, so nobody withdraws it"
        )
        return Finding(Cause.EVERYWHERE, None, text)
    if slow and now < stands.since + stands.pace.patience:
        text = f"no worker answers; what {_names(slow)} {_verb(slow, 'sees', 'see')} is waited for"
        return Finding(Cause.NONE_KNOWN, None, text)
    if node.stale:
        return Finding(Cause.MY_TUNNEL, False, "no worker answers, and every handshake is stale")
    if node.quiet:
        text = "no worker answers, no sibling is heard: nothing comes through the mesh"
        return Finding(Cause.MY_TUNNEL, False, text)
    text = f"no worker answers ({_down(stands.regions)})"
    text += f": {ways}" if ways else ", though the tunnel is fresh"
    if voters:
        text += "; too few siblings say whether they see the same"
    return Finding(Cause.REGION, False, text)


def enough(quorum: float, voters: int) -> int:
    """How many siblings make a thing so for everybody: one, at least."""
    return max(1, math.ceil(quorum * voters - 1e-9))


def _answered_since(told: Statement, stands: ServiceStands) -> bool:
    """Whether a sibling was answered when we were not any more.

    Of a common death one edge hears a probe's interval before another. So that a sibling says
    "reachable" is not enough: its last answer has to be later than ours by more than that.
    """
    if not told.reachable or told.answered is None:
        return False
    return told.answered > stands.answered + stands.pace.margin


def _healthy(regions: Sequence[RegionStands]) -> str:
    """With what is wrong all the same: other regions carry on for one that is down."""
    serving = [region.name for region in regions if region.up]
    down = [region for region in regions if region.down and not region.up and not region.unknown]
    text = f"{_names(serving)} {_verb(serving, 'answers', 'answer')}" if serving else "answers"
    for region in down:
        text += f"; {region.name} does not, {region.way or 'though its tunnel is fresh'}"
    return text


def _ways(regions: Sequence[RegionStands]) -> str:
    """What is wrong with the ways, where none is good."""
    if not regions or not all(region.way for region in regions):
        return ""
    return "; ".join(f"{region.name}: {region.way}" for region in regions)


def _down(regions: Iterable[RegionStands]) -> str:
    return ", ".join(f"{region.name}: {region.down} down" for region in regions) or "there is none"


def _names(names: Sequence[str]) -> str:
    *most, last = sorted(names)
    return f"{', '.join(most)} and {last}" if most else last


def _verb(names: Sequence[str], one: str, several: str) -> str:
    return one if len(names) == 1 else several
