"""Whom a new connection would be given, and with what chance: as the relays pick. Pure.

The nearest region in which somebody is below the soft limits; if there is none, up to the hard
ones, nearest first; if all that have room are left alone by the relays, one of these. In the region
two workers are drawn, each with a chance in proportion to its weight, and the less busy is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from edgenode.steering import table

SMALLEST = 0.05
"""The share of its weight that a worker has when it has just come up."""

Live = Mapping[tuple[str, str], int]
"""Connections by region and worker, of all services; absent: none."""


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
    service: table.Service, live: Live, left_alone: Collection[tuple[str, str]], unix: float
) -> Expectation:
    """The region and the workers that a connection at this Unix time would be given.

    `left_alone`: region and worker of those that relays have ejected or set aside.
    """
    totals = by_region(live)
    for room in Room:
        for region in service.regions:
            alone = () if room is Room.LEFT_ALONE else left_alone
            if not at_limit(totals.get(region.region, 0), region, room):
                found = [
                    target
                    for target in region.workers
                    if not at_limit(live.get((region.region, target.worker), 0), target, room)
                    and (region.region, target.worker) not in alone
                ]
                if found:
                    weights = [weight_now(target, service.slow_start, unix) for target in found]
                    counts = [live.get((region.region, target.worker), 0) for target in found]
                    chances = shares(weights, counts)
                    names = (target.worker for target in found)
                    return Expectation(region.region, room, dict(zip(names, chances, strict=True)))
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
    up = unix - target.since
    if target.since <= 0 or up >= slow_start:
        return float(target.weight)
    return target.weight * max(SMALLEST, up / slow_start)


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
