"""Which target a connection tries next. Pure: no socket, no clock; seconds are passed in.

The rules:

1. The nearest region first; within a region the worker with the fewest live connections, in turn
   among equals.
2. A target that failed is not tried again by the same connection. A refusal is an answer, so the
   next worker of the region follows, and after a few of them the next region. Silence may be a cut
   tunnel, so the next *region* follows: nobody waits one timeout for each worker.
3. What stayed silent or refused is shunned for a few seconds by the connections that follow: it
   comes last. Then one connection tries it while the others go on shunning it; success ends it.
4. Silence blames the region only if it answered nobody else meanwhile.
5. Patience is short while there is somebody else to turn to (a multiple of the region's usual
   connect time). It doubles with each silence in a row, so that a path that has become slow is not
   mistaken for a dead one for ever; the last resort is given the configured timeout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from edgenode.steering.table import RegionTargets, Service, Table, Target

TargetKey = tuple[str, str]
"""Region and worker."""


class Failure(StrEnum):
    """Why an attempt failed."""

    REFUSED = "refused"  # the other end answered: no
    TIMEOUT = "timeout"  # nobody answered
    UNREACHABLE = "unreachable"  # known at once: no route, no mesh address, no free port


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one dial; times in seconds."""

    deadline: float = 10.0
    attempts: int = 12
    refusals_per_region: int = 3
    shun: float = 3.0
    patience_floor: float = 0.1
    patience_factor: float = 3.0
    patience_margin: float = 0.05


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Attempt:
    """Try this target, for at most `timeout` seconds."""

    region: str
    target: Target
    timeout: float

    @property
    def key(self) -> TargetKey:
        return (self.region, self.target.worker)


@dataclass(slots=True)
class Path:
    """What is known about the way to a region; times in seconds."""

    usual: float | None = None
    answered: float = float("-inf")
    silences: int = 0

    def learn(self, sample: float) -> None:
        """Smooth the connect time as RFC 6298 section 2 smooths the round trip."""
        self.usual = sample if self.usual is None else self.usual + (sample - self.usual) / 8


_MOST_PATHS = 256

ShunKey = tuple[str, str, str | None]
"""Service, region, and worker (None: the whole region)."""


class Memory:
    """What the connections of one relay worker have learned; shared by all dials."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._turns: dict[tuple[str, str], int] = {}
        self._paths: dict[str, Path] = {}
        self._shunned: dict[ShunKey, float] = {}

    def path(self, region: str) -> Path:
        return self._paths.setdefault(region, Path())

    def shuns(self, service: Service, region: RegionTargets, now: float) -> bool:
        """Whether the region is to come last: itself, or each of its workers is shunned."""
        if not self._shunned:
            return False
        return self._shuns((service.name, region.region, None), now) or all(
            self._shuns((service.name, region.region, target.worker), now)
            for target in region.workers
        )

    def shuns_worker(self, service: str, key: TargetKey, now: float) -> bool:
        return bool(self._shunned) and self._shuns((service, *key), now)

    def turn(self, service: str, region: str) -> int:
        """How many attempts the service has made in the region."""
        return self._turns.get((service, region), 0)

    def picked(self, service: str, key: TargetKey, now: float) -> None:
        """A connection tries this target: if its time of shunning is over, it tries for all."""
        turn = (service, key[0])
        self._turns[turn] = self._turns.get(turn, 0) + 1
        if self._shunned:
            for one in ((service, key[0], None), (service, *key)):
                if one in self._shunned:
                    self._shun(one, now)

    def connected(self, service: str, key: TargetKey, started: float, now: float) -> None:
        path = self.path(key[0])
        path.learn(now - started)
        self._answered(path, service, key[0], now)
        self._shunned.pop((service, *key), None)

    def failed(
        self, service: str, key: TargetKey, failure: Failure, started: float, now: float
    ) -> None:
        path = self.path(key[0])
        self._shun((service, *key), now)
        if failure is Failure.REFUSED:
            self._answered(path, service, key[0], now)
        elif failure is Failure.TIMEOUT and path.answered < started:
            path.silences += 1
            self._shun((service, key[0], None), now)

    def forgive(self, table: Table, now: float) -> None:
        """A new table: what it names may be tried at once, by one connection first.

        What it does not name is forgotten; but the ways to regions only once there are many, since
        a region may be back in the next table.
        """
        known = {
            (service.name, region.region): region
            for service in table.services
            for region in service.regions
        }
        self._shunned = {
            (service, name, worker): min(until, now)
            for (service, name, worker), until in self._shunned.items()
            if (region := known.get((service, name))) is not None
            and (worker is None or any(target.worker == worker for target in region.workers))
        }
        self._turns = {key: turn for key, turn in self._turns.items() if key in known}
        if len(self._paths) > _MOST_PATHS:
            regions = {region for _, region in known}
            self._paths = {name: path for name, path in self._paths.items() if name in regions}

    def _answered(self, path: Path, service: str, region: str, now: float) -> None:
        path.answered = now
        path.silences = 0
        self._shunned.pop((service, region, None), None)

    def _shun(self, key: ShunKey, now: float) -> None:
        self._shunned[key] = now + self.limits.shun

    def _shuns(self, key: ShunKey, now: float) -> bool:
        return now < self._shunned.get(key, now)


class Dial:
    """The attempts of one connection: `next`, then `failed` or `connected`, and so on."""

    def __init__(self, service: Service, memory: Memory, now: float) -> None:
        self._service = service
        self._memory = memory
        self._deadline = now + memory.limits.deadline
        self._attempts = 0
        self._tried: set[TargetKey] = set()
        self._refusals: dict[str, int] = {}
        self._silences: dict[str, int] = {}
        self._current: Attempt | None = None
        self._started = now

    def next(self, now: float, live: Mapping[TargetKey, int]) -> Attempt | None:
        """Choose the next target, given the live connections of each; None: give up."""
        limits = self._memory.limits
        left = self._deadline - now
        if self._attempts >= limits.attempts or left <= 0:
            return None
        region = self._next_region(now)
        if region is None:
            return None
        target = self._next_worker(region, now, live)
        key = (region.region, target.worker)
        self._tried.add(key)
        self._attempts += 1
        self._memory.picked(self._service.name, key, now)
        self._started = now
        self._current = Attempt(region.region, target, min(self._patience(region.region), left))
        return self._current

    def failed(self, failure: Failure, now: float) -> None:
        """The attempt that `next` gave has failed."""
        attempt = self._take()
        counts = self._silences if failure is Failure.TIMEOUT else self._refusals
        counts[attempt.region] = counts.get(attempt.region, 0) + 1
        self._memory.failed(self._service.name, attempt.key, failure, self._started, now)

    def connected(self, now: float) -> None:
        """The attempt that `next` gave has succeeded."""
        attempt = self._take()
        self._memory.connected(self._service.name, attempt.key, self._started, now)

    def _take(self) -> Attempt:
        attempt, self._current = self._current, None
        if attempt is None:
            raise RuntimeError("no attempt is under way")
        return attempt

    def _next_region(self, now: float) -> RegionTargets | None:
        best: RegionTargets | None = None
        best_rank: tuple[int, bool, int] | None = None
        for region in self._service.regions:
            if not self._untried(region):
                continue
            rank = (
                self._silences.get(region.region, 0),
                self._memory.shuns(self._service, region, now),
                self._refusals.get(region.region, 0) // self._memory.limits.refusals_per_region,
            )
            if best_rank is None or rank < best_rank:
                best, best_rank = region, rank
        return best

    def _next_worker(
        self, region: RegionTargets, now: float, live: Mapping[TargetKey, int]
    ) -> Target:
        untried = self._untried(region)
        turn = self._memory.turn(self._service.name, region.region) % len(untried)
        return min(
            untried[turn:] + untried[:turn],
            key=lambda target: (
                self._memory.shuns_worker(self._service.name, (region.region, target.worker), now),
                live.get((region.region, target.worker), 0),
            ),
        )

    def _untried(self, region: RegionTargets) -> list[Target]:
        return [
            target for target in region.workers if (region.region, target.worker) not in self._tried
        ]

    def _patience(self, region: str) -> float:
        configured = self._service.connect_timeout
        path = self._memory.path(region)
        somebody_else = any(self._untried(one) for one in self._service.regions)
        if path.usual is None or region in self._silences or not somebody_else:
            return configured
        limits = self._memory.limits
        short = max(
            limits.patience_floor, path.usual * limits.patience_factor + limits.patience_margin
        )
        return min(configured, short * 2.0 ** min(path.silences, 10))
