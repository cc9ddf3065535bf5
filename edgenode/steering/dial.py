"""Which target a connection tries next. Pure: no socket, no clock; seconds are passed in.

The rules:

1. The nearest region first; in it, the better of two workers (`pick`), below its soft limit. If
   nobody there is, the next region; if nobody is anywhere, up to the hard limits, nearest first.
2. A target that failed is not tried again by the same connection. A refusal is an answer, so the
   next worker of the region follows, and after a few of them the next region. Silence may be a cut
   tunnel, so the next *region* follows: nobody waits one timeout for each worker.
3. What failed others is left alone or comes last, see `outliers`; it is tried when nobody else is
   left.
4. Silence blames the region only if it answered nobody else meanwhile.
5. Patience is short while there is somebody else to turn to (a multiple of the region's usual
   connect time). It doubles with each silence in a row, so that a path that has become slow is not
   mistaken for a dead one for ever; the last resort is given the configured timeout.
6. Only what the newest table names is tried, also by a connection that came under an older one.
7. An attempt that is late (see `hedge`) is raced by one other: of another region, since silence may
   be a cut tunnel, else another worker; with room below its soft limit, and not known to fail. At
   most two are under way, and beyond the service's budget nobody is raced. A retry needs no leave,
   but is paid for: where retries are many, races are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgenode.steering import hedge
from edgenode.steering.memory import Memory, Path
from edgenode.steering.outliers import PAUSE, Failure
from edgenode.steering.pick import Nobody, Pool, Room
from edgenode.steering.table import Service, Target

TargetKey = tuple[str, str]
"""Region and worker."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one dial; times in seconds."""

    deadline: float = 10.0
    attempts: int = 12
    refusals_per_region: int = 3
    pause: float = PAUSE
    patience_floor: float = 0.1
    patience_factor: float = 3.0
    patience_margin: float = 0.05


DEFAULT_LIMITS = Limits()

_NEVER = float("inf")
_SOFT, _HARD, _EJECTED = Room.SOFT, Room.HARD, Room.EJECTED
_FULL = Nobody.FULL


class Attempt:
    """Try this target, for at most `timeout` seconds. It holds a place in `pool` at `at`.

    `late_at`: from when on it may be raced. `key`: what it is counted under.
    """

    __slots__ = ("at", "key", "late_at", "pool", "raced", "region", "started", "target", "timeout")

    def __init__(
        self,
        region: str,
        target: Target,
        timeout: float,
        pool: Pool,
        at: int,
        started: float = 0.0,
    ) -> None:
        self.region = region
        self.target = target
        self.key: TargetKey = (region, target.worker)
        self.timeout = timeout
        self.pool = pool
        self.at = at
        self.started = started
        self.late_at = _NEVER
        self.raced = False

    @property
    def until(self) -> float:
        """When it has failed for want of an answer."""
        return self.started + self.timeout


class Dial:
    """The attempts of one connection: `next`, then `failed` or `connected`, and so on.

    Beside one that is `late` there may be one more, by `race`. The place of an attempt that has not
    failed is the caller's to give back, by `Memory.give`.
    `full`: whether `next` has given up for want of room. `exhausted`: whether `race` has given none
    for want of budget.
    """

    def __init__(
        self, service: Service, memory: Memory, now: float, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self.full = False
        self.exhausted = False
        self._name = service.name
        self._hedge = service.hedge
        self._connect_timeout = service.connect_timeout
        self._memory = memory
        self._limits = limits
        self._most = limits.attempts
        self._deadline = now + limits.deadline
        self._attempts = 0
        self._tried: dict[str, tuple[str, ...]] = {}
        self._refusals: dict[str, int] = {}
        self._silences: dict[str, int] = {}

    def next(self, now: float) -> Attempt | None:
        """Choose the next target and take a place there; None: give up."""
        left = self._deadline - now
        if self._attempts >= self._most or left <= 0:
            return None
        chosen = self._choose(now)
        if chosen is None:
            return None
        if self._attempts:
            self._memory.budget(self._name).spend()
        pool, at = chosen
        return self._begin(pool, at, now, left)

    def late(self, attempt: Attempt, now: float) -> bool:
        """The attempt is late, which is told once; True if it shows that somebody is silent."""
        attempt.late_at = _NEVER
        return self._memory.late(attempt.pool, attempt.at, attempt.started, now)

    def race(self, attempt: Attempt, now: float) -> Attempt | None:
        """Choose the one that races an attempt that is late, and take a place there."""
        self.exhausted = False
        left = self._deadline - now
        if self._attempts >= self._most or left <= 0 or not self._somebody_else():
            return None
        budget = self._memory.budget(self._name)
        if not budget.allows(now):
            self.exhausted = True
            return None
        chosen = self._spare(attempt.region, now)
        if chosen is None:
            return None
        budget.spend()
        attempt.raced = True
        self._silences[attempt.region] = self._silences.get(attempt.region, 0) + 1
        pool, at = chosen
        return self._begin(pool, at, now, left)

    def failed(self, attempt: Attempt, failure: Failure, now: float) -> None:
        """The attempt has failed; its place is given back."""
        if failure is not Failure.TIMEOUT:
            self._refusals[attempt.region] = self._refusals.get(attempt.region, 0) + 1
        elif not attempt.raced:
            self._silences[attempt.region] = self._silences.get(attempt.region, 0) + 1
        self._memory.give(attempt.pool, attempt.at)
        self._memory.failed(attempt.pool, attempt.at, failure, attempt.started, now)

    def unmade(self, attempt: Attempt) -> None:
        """The attempt could not be made, by no fault of the target; its place is given back."""
        self._refusals[attempt.region] = self._refusals.get(attempt.region, 0) + 1
        self._memory.give(attempt.pool, attempt.at)

    def connected(self, attempt: Attempt, now: float) -> None:
        """The attempt has succeeded."""
        self._memory.connected(attempt.pool, attempt.at, attempt.started, now)

    def _begin(self, pool: Pool, at: int, now: float, left: float) -> Attempt:
        region, target = pool.targets.region, pool.targets.workers[at]
        self._tried[region] = (*self._tried.get(region, ()), target.worker)
        self._attempts += 1
        path = self._memory.path(region)
        timeout = min(self._patience(path, region), left)
        attempt = Attempt(region, target, timeout, pool, at, now)
        if self._hedge:
            late_after = hedge.patience(path.usual, path.deviation)
            if late_after < timeout:
                attempt.late_at = now + late_after
        return attempt

    def _spare(self, late: str, now: float) -> tuple[Pool, int] | None:
        """A target that is not known to fail, its place taken: not in the region that is late, nor
        in one that has failed this connection, unless there is no other."""
        memory = self._memory
        for elsewhere in (True, False):
            for pool in memory.pools(self._name):
                region = pool.targets.region
                first = region != late and self._tier(pool) == _FIRST
                if first != elsewhere or memory.dead(pool, now):
                    continue
                found = memory.take(pool, _SOFT, self._tried.get(region, ()), now)
                if not isinstance(found, Nobody):
                    return pool, found
        return None

    def _choose(self, now: float) -> tuple[Pool, int] | None:
        """The target, its place taken."""
        self.full = False
        memory, tried = self._memory, self._tried
        if not tried and (usual := self._nearest(now)) is not None:
            return usual
        later: dict[tuple[int, bool, int], list[Pool]] = {}
        first: list[Pool] = []
        for pool in memory.pools(self._name):
            if memory.dead(pool, now) or (tried and self._tier(pool) != _FIRST):
                later.setdefault(self._tier(pool), []).append(pool)
                continue
            found = memory.take(pool, _SOFT, tried.get(pool.targets.region, ()), now)
            if not isinstance(found, Nobody):
                return pool, found
            if found is _FULL:
                first.append(pool)
        chosen = self._among(first, _HARD, now)
        for _, pools in sorted(later.items()):
            chosen = chosen or self._among(pools, _SOFT, now)
            chosen = chosen or self._among(pools, _HARD, now)
        if chosen is None and not self.full:
            chosen = self._among(memory.pools(self._name), _EJECTED, now)
        return chosen

    def _nearest(self, now: float) -> tuple[Pool, int] | None:
        """Of the first region, as nearly all are; None: it is to be looked at all."""
        pools, memory = self._memory.pools(self._name), self._memory
        if not pools or memory.dead(pools[0], now):
            return None
        found = memory.take(pools[0], _SOFT, (), now)
        return None if isinstance(found, Nobody) else (pools[0], found)

    def _among(self, pools: Sequence[Pool], room: Room, now: float) -> tuple[Pool, int] | None:
        for pool in pools:
            tried = self._tried.get(pool.targets.region, ())
            found = self._memory.take(pool, room, tried, now)
            if not isinstance(found, Nobody):
                return pool, found
            self.full = self.full or (found is _FULL and room is not _SOFT)
        return None

    def _tier(self, pool: Pool) -> tuple[int, bool, int]:
        """Which regions come first: those that have not failed this connection, nor others."""
        region = pool.targets.region
        return (
            self._silences.get(region, 0),
            pool.dead,
            self._refusals.get(region, 0) // self._limits.refusals_per_region,
        )

    def _patience(self, path: Path, region: str) -> float:
        configured = self._connect_timeout
        if path.usual is None or region in self._silences or not self._somebody_else():
            return configured
        limits = self._limits
        short = max(
            limits.patience_floor, path.usual * limits.patience_factor + limits.patience_margin
        )
        return min(configured, short * 2.0 ** min(path.silences, 10))

    def _somebody_else(self) -> bool:
        for pool in self._memory.pools(self._name):
            tried = self._tried.get(pool.key[1], ())
            if len(pool.columns) > len(tried):
                return True
            for worker in pool.index:
                if worker not in tried:
                    return True
        return False


_FIRST = (0, False, 0)
