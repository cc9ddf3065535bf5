"""Which worker of a region a connection gets: the better of two. Pure: chance is passed in.

Two are drawn, each with a chance in proportion to its weight, and the one with fewer connections
for its weight is taken ("the power of two choices", Mitzenmacher 2001): nearly as even as looking
at all of them, and relays that do not see each other's newest choice do not all run to the same.
So nobody gets more than twice its weight's part, however idle it is.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Collection, Sequence
from enum import Enum, auto
from itertools import accumulate

from edgenode.steering.table import RegionTargets, Target

SMALLEST_SHARE = 0.05
"""Of its weight, that a worker has when it has just come up."""

_DRAWS = 3  # pairs that are drawn before all are looked at
_FULL_FOR = 0.05  # seconds that a region without room is believed to have none
_STEPS = 100  # of a slow start
_INFINITY = float("inf")
_NOWHERE: frozenset[int] = frozenset()

Live = Callable[[int], int]
Uniform = Callable[[], float]
"""Random numbers, evenly spread over [0, 1)."""


class Room(Enum):
    """How full the worker may be."""

    SOFT = auto()  # below its soft limit
    HARD = auto()  # below its hard limit
    EJECTED = auto()  # likewise, and it may be one that is left alone: there is nobody else


# A member of an enumeration is found by a method of Python 3.11's, each time.
_SOFT, _EJECTED = Room.SOFT, Room.EJECTED


class Nobody(Enum):
    """Why none was picked."""

    UNTRIED = auto()  # all have been tried
    FULL = auto()  # some have not, but have no room


_UNTRIED, _FULL = Nobody.UNTRIED, Nobody.FULL


def share(slow_start: float, since_up: float) -> float:
    """The part of its weight that counts for a worker that came up so many seconds ago."""
    if since_up >= slow_start:
        return 1.0
    return max(SMALLEST_SHARE, since_up / slow_start)


def step(slow_start: float) -> float:
    """Seconds after which the shares of those that came up are looked at again."""
    return max(slow_start / _STEPS, 0.02)


class Pool:
    """A region of a service, ready to be picked from.

    `column` and `columns` say where its connections, and those of each worker, are counted.
    """

    __slots__ = (
        "_cumulative",
        "_freed",
        "_hard",
        "_hard_full_until",
        "_members",
        "_soft",
        "_soft_full_until",
        "_weights",
        "began",
        "column",
        "columns",
        "dead",
        "index",
        "key",
        "limited",
        "targets",
        "until",
    )

    def __init__(
        self,
        key: tuple[str, str],
        targets: RegionTargets,
        column: int,
        columns: tuple[int, ...],
        began: tuple[float, ...] | None = None,
    ) -> None:
        self.key = key
        self.targets = targets
        self.column = column
        self.columns = columns
        self.began = began
        self.index = {target.worker: at for at, target in enumerate(targets.workers)}
        self.limited = targets.hard_limit is not None or any(
            target.hard_limit is not None for target in targets.workers
        )
        self.dead = False
        self.until = -_INFINITY
        """When it is to be arranged anew."""
        hard = [_most(target.hard_limit) for target in targets.workers]
        self._hard = hard
        self._soft = [
            min(_most(target.soft_limit), most)
            for target, most in zip(targets.workers, hard, strict=True)
        ]
        self._members: list[int] = []
        self._weights: list[float] = []
        self._cumulative: list[float] = []
        self._soft_full_until = self._hard_full_until = -_INFINITY
        self._freed = 0

    def takes(self, target: Target) -> bool:
        """Whether a new connection may go to this target: it is here, and not left alone."""
        at = self.index.get(target.worker)
        if at is None:
            return False
        here = self.targets.workers[at]
        same = (here.address, here.port) == (target.address, target.port)
        return same and at in self._members

    def arrange(
        self, shares: Sequence[float] | None, ejected: Collection[str], dead: bool, until: float
    ) -> None:
        """Say what share of its weight counts for each (None: all of it), and who is left alone."""
        workers = self.targets.workers
        self._weights = [float(target.weight) for target in workers]
        if shares is not None:
            self._weights = [a * b for a, b in zip(self._weights, shares, strict=True)]
        out = {self.index[name] for name in ejected}
        self._members = [at for at in range(len(workers)) if at not in out]
        self._cumulative = list(accumulate(self._weights[at] for at in self._members))
        self.dead = dead
        self.until = until
        self._soft_full_until = self._hard_full_until = -_INFINITY

    def freed(self, at: int) -> None:
        """A connection to this one has ended."""
        self._freed = at
        self._soft_full_until = self._hard_full_until = -_INFINITY

    def pick(
        self, room: Room, tried: Collection[str], live: Live, uniform: Uniform, now: float
    ) -> int | Nobody:
        """The place in `targets.workers` of the one to take."""
        if room is _EJECTED:
            candidates: Sequence[int] = range(len(self._hard))
        else:
            candidates = self._members
        out = self._places(tried) if tried else _NOWHERE
        if len(out) >= len(candidates) and out.issuperset(candidates):
            return _UNTRIED
        soft = room is _SOFT
        most = self.targets.soft_limit if soft else None
        if most is None:
            most = self.targets.hard_limit
        if most is not None and live(self.column) >= most:
            return _FULL
        limits = self._soft if soft else self._hard
        if room is _EJECTED:
            return self._least(candidates, out, limits, live)
        if now < (self._soft_full_until if soft else self._hard_full_until):
            return _FULL
        for _ in range(_DRAWS):
            one, other = self._draw(uniform), self._draw(uniform)
            load = self._load(one, out, limits, live)
            if other != one and self._load(other, out, limits, live) < load:
                return other
            if load < _INFINITY:
                return one
        freed = self._freed
        if freed in candidates and self._load(freed, out, limits, live) < _INFINITY:
            return freed
        found = self._least(candidates, out, limits, live)
        if found is _FULL and not out:
            if soft:
                self._soft_full_until = now + _FULL_FOR
            else:
                self._hard_full_until = now + _FULL_FOR
        return found

    def _places(self, names: Collection[str]) -> frozenset[int]:
        return frozenset([self.index[name] for name in names if name in self.index])

    def _draw(self, uniform: Uniform) -> int:
        # Not "two different ones": a worker of little weight, or in its slow start, would then be
        # one of the two again and again, and win for having nothing to do.
        cumulative = self._cumulative
        last = len(cumulative) - 1
        if not last:
            return self._members[0]
        return self._members[min(bisect(cumulative, uniform() * cumulative[last]), last)]

    def _load(self, at: int, out: Collection[int], limits: Sequence[float], live: Live) -> float:
        """Connections for its weight; infinite if it is not to be taken."""
        count = live(self.columns[at])
        if count >= limits[at] or (out and at in out):
            return _INFINITY
        return count / self._weights[at]

    def _least(
        self, candidates: Sequence[int], out: Collection[int], limits: Sequence[float], live: Live
    ) -> int | Nobody:
        loads = [(self._load(at, out, limits, live), at) for at in candidates]
        load, at = min(loads)
        return at if load < _INFINITY else _FULL


def _most(limit: int | None) -> float:
    return _INFINITY if limit is None else limit
