"""Targets that fail users are left alone for a while. Pure: seconds are passed in.

A target that refuses or stays silent is set aside at once, for a few seconds. One that has failed
so many times in a row (resets before it sent a byte count too) is ejected for `base_time`, twice as
long each time that follows. Then one connection tries it, while the others go on leaving it alone;
if it is well, all come back. What is not its own fault, for its whole region is silent or the node
itself has no way to it, never ejects it.

At most a share of a region's targets is left alone at once: of those that fail, the first. Where
all fail, nobody is left alone; the region as a whole is *dead* then, and comes after those that are
not. So does a region whose way is silent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from edgenode.steering.table import DEFAULT_OUTLIERS

PAUSE = 3.0
"""Seconds that a failure to connect sets a target aside, and that a trial gives it."""

JITTER = 0.25
"""By which share an ejection may be shorter, so that not all that failed together return so."""

_MOST_DOUBLINGS = 30
_MOST_RECORDS = 4096  # of targets that are in no table

NEVER = float("-inf")

Pool = tuple[str, str]
"""Service and region."""


class Failure(StrEnum):
    """How a target failed."""

    REFUSED = "refused"  # the other end answered: no
    TIMEOUT = "timeout"  # nobody answered
    UNREACHABLE = "unreachable"  # known at once: no route, no mesh address, no free port
    RESET = "reset"  # it accepted, and reset the connection before it sent a byte


@dataclass(slots=True)
class Record:
    """What is held against a target, or against the way to a region; times in seconds."""

    reason: Failure
    failures: int = 0  # in a row
    ejections: int = 0  # likewise; those for `base_time` and longer
    since: float = NEVER  # when it was set aside, trials included
    began: float = NEVER  # when the present time began: a pause, an ejection, a trial
    until: float = NEVER
    held: bool = False  # nothing has shown yet that it is well again
    ejected: bool = False  # the present time is an ejection
    passed: bool = False  # its trial has got so far that only a reset would end it badly
    returned: float = NEVER  # when it was found well after an ejection

    def failing(self, now: float) -> bool:
        return self.held and now < self.until


@dataclass(frozen=True, slots=True)
class View:
    """Who of a region is left alone, whether it comes last, and until when this holds."""

    ejected: frozenset[str] = frozenset()
    dead: bool = False
    until: float = float("inf")


@dataclass(frozen=True, slots=True)
class Ejection:
    """A target that is left alone; without a worker, a region that comes last."""

    service: str
    region: str
    worker: str | None
    reason: Failure
    until: float
    ejections: int

    @property
    def silent(self) -> bool:
        """Whether it is the way: a target there did not answer, nor did any other meanwhile."""
        return self.worker is None and self.reason is Failure.TIMEOUT


NOBODY = View()


class Outliers:
    """The records of one relay worker. What has changed who is left alone returns True."""

    def __init__(self, random: Random, pause: float = PAUSE) -> None:
        self.policy = DEFAULT_OUTLIERS
        self._pause = pause
        self._random = random
        self._records: dict[Pool, dict[str | None, Record]] = {}

    def failed(
        self, pool: Pool, worker: str | None, failure: Failure, started: float, now: float
    ) -> bool:
        """An attempt or session that began at `started` has failed; worker None: the way."""
        record = self._records.setdefault(pool, {}).setdefault(worker, Record(failure))
        if started < record.began or (record.ejected and record.failing(now)):
            return False  # no news; and one that is too many to be ejected goes on failing
        if not record.held and now - record.returned > self.policy.max_time:
            record.ejections = 0
        record.reason = failure
        if not self._common(pool, failure, now):
            record.failures += 1
        eject = worker is not None and 0 < self.policy.failures <= record.failures
        if not eject and failure is Failure.RESET:
            return False
        if eject:
            record.ejections += 1
        if not record.held:
            record.since = now
        record.began = now
        record.until = now + (self._length(record.ejections) if eject else self._pause)
        record.held, record.ejected, record.passed = True, eject, False
        return True

    def connected(self, pool: Pool, worker: str, now: float) -> bool:
        """An attempt has succeeded: the target answers, and so does the way."""
        records = self._records.get(pool) if self._records else None
        if not records:
            return False
        record = records.get(worker)
        changed = self.answered(pool, now)
        if record is None:
            return changed
        if record.reason is Failure.RESET:
            record.passed = True
            return changed
        return self._well(record, now) or changed

    def answered(self, pool: Pool, now: float) -> bool:
        """Somebody there has answered, be it no: the way is good."""
        if not self._records:
            return False
        way = self._records.get(pool, {}).get(None)
        return way is not None and self._well(way, now)

    def proven(self, pool: Pool, worker: str, started: float, now: float) -> bool:
        """A session that began at `started` has had bytes of the target."""
        if not self._records:
            return False
        record = self._records.get(pool, {}).get(worker)
        return record is not None and started >= record.began and self._well(record, now)

    def trying(self, pool: Pool, worker: str, now: float) -> bool:
        """A connection tries this target: if its time is over, it tries for all."""
        records = self._records.get(pool) if self._records else None
        if not records:
            return False
        changed = False
        for record in (records.get(None), records.get(worker)):
            if record is None or not record.held or now < record.until:
                continue
            changed = True
            if record.passed:  # its trial has lasted without a reset
                self._well(record, now)
            else:
                record.began, record.until, record.ejected = now, now + self._pause, False
        return changed

    def retry_all(self, pool: Pool, now: float) -> None:
        """The region that was dead is not: what its workers had in common may be over."""
        for worker in self._records.get(pool, {}):
            self.retry(pool, worker, now)

    def retry(self, pool: Pool, worker: str | None, now: float) -> None:
        """There is news of it: one may try it at once, what is held against it stays."""
        record = self._records.get(pool, {}).get(worker)
        if record is not None:
            record.until = min(record.until, now)

    def drop(self, pool: Pool, worker: str) -> None:
        """The name stands for another target now."""
        self._records.get(pool, {}).pop(worker, None)

    def view(self, pool: Pool, workers: Collection[str], now: float) -> View:
        """Who is left alone of these workers, which are all of the region."""
        records = self._records.get(pool)
        if not records:
            return NOBODY
        failing = sorted(
            (record.since, worker)
            for worker, record in records.items()
            if worker is not None and record.failing(now) and worker in workers
        )
        way = records.get(None)
        silent = way is not None and way.failing(now)
        until = [r.until for r in records.values() if r.held and r.until > now]
        dead = bool(workers) and len(failing) == len(workers)
        most = 0 if dead else int(self.policy.max_share * len(workers))
        return View(
            frozenset(worker for _, worker in failing[:most]),
            dead or silent,
            min(until, default=float("inf")),
        )

    def returned(self, pool: Pool, worker: str) -> float:
        """When it was last found well after an ejection."""
        record = self._records.get(pool, {}).get(worker)
        return NEVER if record is None else record.returned

    def ejections(self, pool: Pool, workers: Collection[str], now: float) -> Iterator[Ejection]:
        """Who is left alone of a region; and the region, if it comes last."""
        records = self._records.get(pool, {})
        view = self.view(pool, workers, now)
        for worker, record in records.items():
            if worker in view.ejected:
                yield Ejection(*pool, worker, record.reason, record.until, record.ejections)
        if view.dead:
            failing = [record for record in records.values() if record.failing(now)]
            cause = records.get(None)
            if cause is None or not cause.failing(now):  # all of its workers fail
                cause = min(failing, key=lambda record: record.until)
            yield Ejection(*pool, None, cause.reason, cause.until, cause.ejections)

    def records(self, pool: Pool) -> Mapping[str | None, Record]:
        """What is held against whom; None: against the way."""
        return self._records.get(pool, {})

    def recall(self, pool: Pool, worker: str | None, record: Record, now: float) -> None:
        """Hold this against it, which another process has learned: for no longer than we would."""
        record.since, record.began = min(record.since, now), min(record.began, now)
        record.returned = min(record.returned, now)
        record.until = min(record.until, now + max(self._pause, self.policy.max_time))
        self._records.setdefault(pool, {})[worker] = record

    def forget(self, known: Collection[Pool], now: float) -> None:
        """Bound the memory: what is old, and pools that are in no table once they are many."""
        old = now - 2 * self.policy.max_time
        for pool, records in list(self._records.items()):
            for worker, record in list(records.items()):
                if max(record.until, record.began, record.returned) < old:
                    del records[worker]
            if not records:
                del self._records[pool]
        if sum(map(len, self._records.values())) > _MOST_RECORDS:
            self._records = {p: records for p, records in self._records.items() if p in known}

    def _common(self, pool: Pool, failure: Failure, now: float) -> bool:
        """Whether others are to blame for a failure: the way to the region, or this node."""
        way = self._records[pool].get(None)
        silent = failure is Failure.TIMEOUT and way is not None and way.failing(now)
        return silent or failure is Failure.UNREACHABLE

    def _well(self, record: Record, now: float) -> bool:
        record.failures = 0
        changed, record.held = record.held, False
        if changed and record.ejections:
            record.returned = now
        return changed

    def _length(self, ejections: int) -> float:
        policy = self.policy
        length = policy.base_time * 2.0 ** min(ejections - 1, _MOST_DOUBLINGS)
        return min(length, policy.max_time) * (1.0 - JITTER * self._random.random())
