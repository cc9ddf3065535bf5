"""Connections that are kept ready for users who have not come yet: those of one service. Pure.

So a new user waits for no round-trip to the region. How many are missing follows from how many are
wanted; after one that was refused, silent, or closed as soon as it stood, the next waits, twice as
long each time: a worker that wants none is not flooded with them.
"""

from __future__ import annotations

from edgenode.steering.dial import Attempt

SOON = 1.0
"""Seconds after which an end is no failure: a worker closes idle connections in its own time."""

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_MOST_DOUBLINGS = 10


class Warm:
    """A connection to the place that `attempt` holds; `stood`: since when (None: it is dialed)."""

    __slots__ = ("attempt", "fd", "stood")

    def __init__(self, fd: int, attempt: Attempt) -> None:
        self.fd = fd
        self.attempt = attempt
        self.stood: float | None = None


class Reserve:
    """`wanted` connections are kept, each for at most `age` seconds."""

    def __init__(self, wanted: int, age: float) -> None:
        self.wanted = wanted
        self.age = age
        self.all: list[Warm] = []
        self._resume_at = 0.0
        self._failures = 0

    def missing(self, now: float) -> int:
        """How many are to be dialed now."""
        return 0 if now < self._resume_at else max(0, self.wanted - len(self.all))

    def take(self, one: Warm) -> None:
        """It is a user's now, or gone."""
        self.all.remove(one)

    def newest(self) -> Warm | None:
        """The one that has stood for the shortest time: the least likely to be dead."""
        best: Warm | None = None
        for one in self.all:
            if one.stood is not None and (best is None or one.stood >= (best.stood or 0.0)):
                best = one
        return best

    def over(self, now: float) -> list[Warm]:
        """Those that are too old; and those too many, the oldest first."""
        found = [one for one in self.all if one.stood is not None and now >= one.stood + self.age]
        rest = [one for one in self.all if one not in found]
        return found + rest[: max(0, len(rest) - self.wanted)]

    def silent(self, now: float) -> list[Warm]:
        """Those that were not answered in their time."""
        return [one for one in self.all if one.stood is None and now >= one.attempt.until]

    def stands(self, one: Warm, now: float) -> None:
        """The worker has accepted it."""
        one.stood = now

    def ended(self, one: Warm, now: float) -> None:
        """The worker has refused it or ended it, or has not answered."""
        self.take(one)
        if one.stood is not None and now >= one.stood + SOON:
            self._failures = 0
            return
        if now < self._resume_at:
            return  # it was dialed together with one that has failed before
        pause = _FIRST_PAUSE * 2.0 ** min(self._failures, _MOST_DOUBLINGS)
        self._resume_at = now + min(pause, _LONGEST_PAUSE)
        self._failures += 1

    def used(self, one: Warm) -> None:
        """It has had its first bytes: workers take such connections."""
        self.take(one)
        self._failures = 0
