"""Two relay workers of a node, 10,000 connections, workers and regions coming and going.

The laws that hold in each moment are in `World.check` and `World.attempt`.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edgenode.steering.dial import Dial
from edgenode.steering.memory import Memory
from edgenode.steering.occupancy import Occupancy, Register
from edgenode.steering.outliers import Failure
from edgenode.steering.pick import Pool
from edgenode.steering.table import Bind, Outliers, RegionTargets, Service, Table, Target

POLICY = Outliers(failures=3, base_time=4.0, max_time=30.0, max_share=0.5)
CONNECTIONS = 2_000
EXAMPLES = 5
RATE = 20.0  # connections a second


@dataclass
class Session:
    relay: int
    pool: Pool
    at: int
    began: float
    behaviour: str


class World:
    """Tables as a supervisor hands them out; workers that are good, dead, silent, or reset."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 1000.0
        self.register = Register(2)
        self.number = 0
        self.behaviour: dict[tuple[str, str], str] = {}
        self.workers = {
            region: [self._target(f"{region}-{at}") for at in range(self.random.randint(1, 6))]
            for region in ("fra", "iad", "sin")
        }
        self.limits = {
            region: self.random.choice([(None, None), (15, 20), (None, 8)])
            for region in self.workers
        }
        self.memories: list[Memory] = []
        self.sessions: list[Session] = []
        self.truth: Counter[tuple[str, str | None]] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.table = self._table()
        for row in (0, 1):
            self.memories.append(self._memory(row))

    def _target(self, name: str) -> Target:
        soft, hard = self.random.choice([(None, None), (3, 5), (None, 4), (6, 6)])
        weight = self.random.randint(1, 5)
        return Target(name, "198.51.100.1", 80, weight, soft, hard, self.now)

    def _table(self) -> Table:
        """Some regions and workers are missing."""
        regions = tuple(
            RegionTargets(
                region,
                tuple(one for one in workers if self.random.random() < 0.9),
                *self.limits[region],
            )
            for region, workers in self.workers.items()
            if self.random.random() < 0.9
        )
        regions = tuple(region for region in regions if region.workers)
        service = Service("web", (), "none", 1.0, 60.0, regions, slow_start=10.0)
        self.number += 1
        table = Table(self.number, "lon1", Bind(), (service,), POLICY)
        self.register.assign(table, self.number, self.number - 1)
        return table

    def _memory(self, row: int) -> Memory:
        made = Memory(Occupancy.shared(self.register.fd, row), Random(self.random.random()))
        made.apply(self.table, self.now, self.now, self.register.columns)
        return made

    @property
    def names(self) -> set[tuple[str, str]]:
        return self.table.targets

    def disturb(self) -> None:
        """What happens now and then: a worker breaks or heals, a table, a relay worker's end."""
        match self.random.randrange(6):
            case 0 | 1 | 2:
                region = self.random.choice(list(self.workers))
                worker = self.random.choice(self.workers[region]).worker
                self.behaviour[region, worker] = self.random.choice(
                    ["good", "good", "refuses", "silent", "resets"]
                )
            case 3 | 4:
                for workers in self.workers.values():
                    at = self.random.randrange(len(workers))
                    workers[at] = replace(workers[at], since=self.now)
                self.table = self._table()
                for memory in self.memories:
                    memory.apply(self.table, self.now, self.now, self.register.fresh)
            case 5:
                row = self.random.randrange(2)
                self.register.clear(row)
                for session in [one for one in self.sessions if one.relay == row]:
                    self.sessions.remove(session)
                    self._leave(session)
                self.memories[row] = self._memory(row)

    def connection(self) -> None:
        relay = self.random.randrange(2)
        memory = self.memories[relay]
        dial = Dial(self.table.services[0], memory, self.now)
        tried: set[tuple[str, str]] = set()
        while True:
            ejected = self.ejected(memory)
            attempt = dial.next(self.now)
            if attempt is None:
                break
            # Only what the table names, and each once.
            assert attempt.key in self.names - tried
            # Nobody known dead, while others are there.
            assert attempt.key not in ejected or self.names - tried <= ejected
            tried.add(attempt.key)
            session = Session(relay, attempt.pool, attempt.at, self.now, "good")
            session.behaviour = self.behaviour.get(attempt.key, "good")
            self._enter(session)
            match session.behaviour:
                case "refuses" | "silent":
                    silent = session.behaviour == "silent"
                    self.now += attempt.timeout if silent else 0.02
                    dial.failed(attempt, Failure.TIMEOUT if silent else Failure.REFUSED, self.now)
                    self._leave(session)
                case _:
                    self.now += 0.02
                    dial.connected(attempt, self.now)
                    session.began = self.now
                    self.sessions.append(session)
                    self.outcomes["served"] += 1
                    return
        self.outcomes["full" if dial.full else "failed"] += 1
        if not dial.full and len(tried) < 12 and self.now < dial._deadline:
            assert tried == self.names

    def ejected(self, memory: Memory) -> set[tuple[str, str]]:
        return {(e.region, e.worker) for e in memory.ejections(self.now) if e.worker is not None}

    def end_some(self) -> None:
        for session in list(self.sessions):
            resets = session.behaviour == "resets"
            if resets or self.random.random() < 0.05:
                self.sessions.remove(session)
                self._leave(session)
                memory = self.memories[session.relay]
                memory.give(session.pool, session.at)
                memory.ended(session.pool, session.at, session.began, not resets, self.now)

    def _enter(self, session: Session) -> None:
        region, target = session.pool.targets, session.pool.targets.workers[session.at]
        self.truth[region.region, target.worker] += 1
        self.truth[region.region, None] += 1
        # The hard limits of the present table hold.
        assert target.hard_limit is None or (
            self.truth[region.region, target.worker] <= target.hard_limit
        )
        assert region.hard_limit is None or self.truth[region.region, None] <= region.hard_limit

    def _leave(self, session: Session) -> None:
        region, target = session.pool.targets, session.pool.targets.workers[session.at]
        self.truth[region.region, target.worker] -= 1
        self.truth[region.region, None] -= 1

    def check(self) -> None:
        for memory in self.memories:
            failing = Counter(region for region, _ in self.ejected(memory))
            for region in self.table.services[0].regions:
                # Never more than the share, so never all.
                assert failing[region.region] <= POLICY.max_share * len(region.workers)

    def close(self) -> None:
        live = Occupancy.shared(self.register.fd, None).live
        for name, column in self.register.columns.items():
            assert live(column) == self.truth[name]
        os.close(self.register.fd)


@settings(max_examples=EXAMPLES)
@given(st.integers())
def test_workers_and_regions_come_and_go(seed: int) -> None:
    world = World(seed)
    for number in range(CONNECTIONS):
        world.now += 1 / RATE
        if number % 40 == 0:
            world.disturb()
        world.connection()
        world.end_some()
        world.check()
    world.close()
    assert world.outcomes["served"] > CONNECTIONS / 5


def share_of(memory: Memory, service: Service, worker: str, now: float) -> float:
    """Of 2,000 short connections."""
    picks: Counter[str] = Counter()
    for _ in range(2000):
        dial = Dial(service, memory, now)
        attempt = dial.next(now)
        assert attempt is not None
        dial.connected(attempt, now)
        memory.give(attempt.pool, attempt.at)
        picks[attempt.target.worker] += 1
    return picks[worker] / 2000


def slow(since: float, outliers: Outliers = POLICY) -> tuple[Service, Table]:
    workers = tuple(
        Target(f"fra-{at}", "198.51.100.1", 80, since=since if at == 0 else 0.0) for at in range(4)
    )
    service = Service("web", (), "none", 1.0, 60.0, (RegionTargets("fra", workers),), 60.0)
    return service, Table(1, "lon1", Bind(), (service,), outliers)


def test_a_returned_worker_gets_its_share_slowly() -> None:
    memory = Memory(random=Random(1))
    service, table = slow(since=5000.0)
    memory.apply(table, 100.0, 5000.0)  # the clock of the day, and that of the machine
    for seconds, part in ((0.0, 0.05), (15.0, 0.25), (30.0, 0.5), (60.0, 1.0), (1000.0, 1.0)):
        due = part / (3 + part)
        assert due * 0.6 < share_of(memory, service, "fra-0", 100.0 + seconds) < due * 1.4 + 0.01
    # A new table does not begin it anew, nor does a clock that was set back.
    other = replace(table, revision=2, services=(replace(service, idle_timeout=1.0),))
    memory.apply(other, 1200.0, 4000.0)
    assert share_of(memory, service, "fra-0", 1200.0) > 0.2


def test_a_clock_that_was_set_back_does_not_prolong_it() -> None:
    memory = Memory(random=Random(1))
    service, table = slow(since=9999.0)
    memory.apply(table, 100.0, 5000.0)
    assert share_of(memory, service, "fra-0", 100.0) < 0.05
    assert share_of(memory, service, "fra-0", 161.0) > 0.2


def test_one_that_was_ejected_comes_back_slowly_too() -> None:
    memory = Memory(random=Random(1))
    service, table = slow(since=0.0, outliers=replace(POLICY, failures=1))
    memory.apply(table, 100.0, 5000.0)
    (pool,) = memory.pools("web")
    memory.failed(pool, 0, Failure.REFUSED, 100.0, 100.0)
    assert share_of(memory, service, "fra-0", 101.0) == 0.0
    memory.connected(pool, 0, 105.0, 105.0)
    assert 0.0 < share_of(memory, service, "fra-0", 105.0) < 0.05
    assert share_of(memory, service, "fra-0", 166.0) > 0.2


def test_everything_dead_is_tried_all_the_same() -> None:
    memory = Memory(random=Random(1))
    service, table = slow(since=0.0)
    memory.apply(table, 0.0, 0.0)
    (pool,) = memory.pools("web")
    for at in range(4):
        memory.failed(pool, at, Failure.REFUSED, 0.0, 0.0)
    assert [one.worker for one in memory.ejections(0.1)] == [None]  # the region comes last
    first = set()
    for _ in range(100):
        attempt = Dial(service, memory, 0.1).next(0.1)
        assert attempt is not None
        first.add(attempt.target.worker)
        memory.give(attempt.pool, attempt.at)
    assert len(first) == 4


class Rivals(Occupancy):
    """Whenever this relay worker takes a place, another one takes it at the same time."""

    rival: Occupancy

    def take(self, column: int) -> None:
        super().take(column)
        self.rival.take(column)


def test_two_that_take_the_last_place_at_once_do_not_both_keep_it() -> None:
    register = Register(2)
    ours: Any = Rivals.shared(register.fd, 0)
    ours.rival = theirs = Occupancy.shared(register.fd, 1)
    region = RegionTargets("fra", (Target("fra-1", "198.51.100.1", 80, hard_limit=1),))
    table = Table(1, "lon1", Bind(), (Service("web", (), "none", 1.0, 60.0, (region,)),))
    register.assign(table, 1, 0)
    memory = Memory(ours)
    memory.apply(table, 0.0, 0.0, register.columns)
    dial = Dial(table.services[0], memory, 0.0)
    assert dial.next(0.0) is None
    assert dial.full
    assert theirs.live(register.columns["fra", "fra-1"]) == 1  # that of the other
    os.close(register.fd)


def test_a_region_that_was_dead_as_a_whole_is_tried_as_a_whole() -> None:
    """Once one of its workers is well, the long times of the others are over, too."""
    memory = Memory(random=Random(1))
    service, table = slow(since=0.0, outliers=replace(POLICY, failures=1))
    memory.apply(replace(table, services=(replace(service, slow_start=0.0),)), 0.0, 0.0)
    (pool,) = memory.pools("web")
    for at in range(4):
        memory.failed(pool, at, Failure.REFUSED, 0.0, 0.0)
    assert memory.dead(pool, 0.1)
    memory.connected(pool, 3, 0.1, 0.2)
    assert not memory.dead(pool, 0.2)
    for worker in ("fra-0", "fra-1", "fra-2"):
        assert share_of(memory, service, worker, 0.3) > 0.2
