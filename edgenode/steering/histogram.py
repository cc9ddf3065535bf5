"""Times in fixed buckets: cheap to count, to add up over relay workers, and to take quantiles of.

Pure; seconds. Its JSON leaves empty buckets out: {"us": the sum, "buckets": {"0.01": 3, "inf": 1}},
where 0.01 is an upper bound.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

BOUNDS = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0),
)
"""Upper ones: fine where regions and users are, 5 to 300 ms away."""

NAMES = (*(f"{bound:g}" for bound in BOUNDS), "inf")


class Histogram:
    """How often which time was seen."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * len(NAMES)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def to_json(self) -> dict[str, Any]:
        buckets = {name: count for name, count in zip(NAMES, self.counts, strict=True) if count}
        return {"us": round(self.total * 1e6), "buckets": buckets}


def cumulative(buckets: Mapping[str, int]) -> list[tuple[str, int]]:
    """Upper bounds, and how many were not above each; the last is all."""
    found, total = [], 0
    for name in NAMES:
        total += buckets.get(name, 0)
        found.append((name, total))
    return found


def quantile(buckets: Mapping[str, int], share: float) -> float | None:
    """The time that this share did not exceed, as far as the buckets tell; None: there is none.

    Between two bounds times are taken to be spread evenly; above the last bound it is that bound.
    """
    counts = [buckets.get(name, 0) for name in NAMES]
    left = share * sum(counts)
    if not sum(counts):
        return None
    for lower, upper, count in zip((0.0, *BOUNDS), BOUNDS, counts, strict=False):
        if left <= count and count:
            return lower + (upper - lower) * left / count
        left -= count
    return BOUNDS[-1]
