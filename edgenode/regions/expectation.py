"""Whom a new connection would be given, and with what chance: as the relays pick. Pure.

The nearest region in which somebody is below the soft limits; if there is none, up to the hard
ones, nearest first; then those that fail users as a whole, likewise; and if everybody else is left
alone by the relays, one of these. In the region two workers are drawn, each with a chance in
proportion to its weight, and the less busy is taken (see `steering.pick`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from edgenode.steering import table
from edgenode.steering.pick import share

Live = Mapping[tuple[str, str], int]
"""Connections by region and worker, of all services; absent: none."""

LeftAlone = tuple[str, str | None]
"""Region and worker that the relays have ejected or set aside; None: the region comes last."""


class Room(StrEnum):
    """How far up the region's and the workers' limits may be filled."""

    SOFT = "soft"
    HARD = "hard"
    LEFT_ALONE = "left-alone"


@dataclass(frozen=True)
class Expectation:
    """`region` is None where nobody has room."""

    region: str | None = None
    room: Room = Room.HARD
    shares: Mapping[str, float] = field(default_factory=dict)
    """By worker: its chance, which add up to 1."""


def expect(
    service: table.Service, live: Live, left_alone: Collection[LeftAlone], unix: float
) -> Expectation:
    """The region and the workers that a connection at this Unix time would be given."""
    totals = by_region(live)
    last = [region for region in service.regions if (region.region, None) in left_alone]
    first = [region for region in service.regions if (region.region, None) not in left_alone]
    tries = [(regions, room) for regions in (first, last) for room in (Room.SOFT, Room.HARD)]
    full = False
    for regions, room in (*tries, (service.regions, Room.LEFT_ALONE)):
        if room is Room.LEFT_ALONE and full:
            break  # refused: those that are well have all that they may have
        for region in regions:
            at = region.region
            alone = () if room is Room.LEFT_ALONE else left_alone
            members = [one for one in region.workers if (at, one.worker) not in alone]
            room_for = [
                one for one in members if not at_limit(live.get((at, one.worker), 0), one, room)
            ]
            if room_for and not at_limit(totals.get(at, 0), region, room):
                weights = [weight_now(one, service.slow_start, unix) for one in room_for]
                counts = [live.get((at, one.worker), 0) for one in room_for]
                names = [one.worker for one in room_for]
                chances = dict(zip(names, shares(weights, counts), strict=True))
                return Expectation(at, room, chances)
            full = full or (bool(members) and room is Room.HARD)
    return Expectation()


def by_region(live: Live) -> dict[str, int]:
    """The connections to all workers of each region, also to those that left the table."""
    totals: dict[str, int] = {}
    for (region, _), count in live.items():
        totals[region] = totals.get(region, 0) + count
    return totals


def at_limit(live: int, limited: table.Target | table.RegionTargets, room: Room) -> bool:
    """Whether a worker or region has all the connections that it may have."""
    hard = limited.hard_limit
    if hard is not None and live >= hard:
        return True
    return room is Room.SOFT and limited.soft_limit is not None and live >= limited.soft_limit


def weight_now(target: table.Target, slow_start: float, unix: float) -> float:
    """A worker's weight, less while its slow start lasts."""
    return target.weight * share(slow_start, unix - target.since)


def shares(weights: Sequence[float], counts: Sequence[int]) -> list[float]:
    """The chance of each worker to be taken, by weight and live connections.

    Worker i is drawn first with w(i)/W, then j with w(j)/(W - w(i)). The one with fewer connections
    for its weight, the new one counted in, is taken; of equals the first.
    """
    total = sum(weights)
    if len(weights) == 1:
        return [1.0]
    result = [0.0] * len(weights)
    busier = second = 0.0  # sums over those with more to do: w(j), and w(j)/(W - w(j))
    for equals in _busiest_first(weights, counts):
        weight = sum(weights[i] for i in equals)
        for i in equals:
            others = busier + weight - weights[i]
            result[i] = weights[i] / total * (others / (total - weights[i]) + second)
        busier += weight
        second += sum(weights[i] / (total - weights[i]) for i in equals)
    return result


def _busiest_first(weights: Sequence[float], counts: Sequence[int]) -> Iterator[list[int]]:
    """The places of those with equally much to do for their weight, the busiest first."""
    loads = [(count + 1) / weight for weight, count in zip(weights, counts, strict=True)]
    group: list[int] = []
    for i in sorted(range(len(loads)), key=loads.__getitem__, reverse=True):
        if group and loads[i] != loads[group[0]]:
            yield group
            group = []
        group.append(i)
    if group:
        yield group
