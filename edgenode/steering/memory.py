"""What the connections of one relay worker have learned, and where there is room, for all dials.

Pure but for the occupancy, which other relay workers write too. Times are of the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random

from edgenode.steering import hedge
from edgenode.steering.occupancy import NOWHERE, Counted, Numbers, Occupancy
from edgenode.steering.outliers import PAUSE, Ejection, Failure, Outliers, Record
from edgenode.steering.pick import Nobody, Pool, Room, share, step
from edgenode.steering.table import DEFAULT_DIALING, RegionTargets, Service, Table, Target

_MOST_PATHS = 256
_MOST_LATE = 4096  # workers that are late
_TAKES = 3  # how often the last place may be lost to another relay worker

_INFINITY = float("inf")
_FULL = Nobody.FULL


class Path:
    """What is known about the way to a region; times in seconds."""

    __slots__ = ("answered", "deviation", "late", "silences", "usual")

    def __init__(self) -> None:
        self.usual: float | None = None
        self.deviation = 0.0
        self.answered = -_INFINITY
        self.silences = 0
        self.late = 0  # attempts, with no answer of anybody since the first of them began

    def learn(self, sample: float) -> None:
        """Smooth the connect time as RFC 6298 section 2 smooths the round trip."""
        if self.usual is None:
            self.usual, self.deviation = sample, sample / 2
        else:
            self.deviation += (abs(sample - self.usual) - self.deviation) / 4
            self.usual += (sample - self.usual) / 8

    def heard(self, now: float) -> None:
        """Somebody there has answered."""
        self.answered, self.silences, self.late = now, 0, 0


class Memory:
    """Survives each new table: what is learned about a target holds as long as it is the same."""

    def __init__(
        self,
        occupancy: Occupancy | None = None,
        random: Random | None = None,
        pause: float = PAUSE,
    ) -> None:
        random = random or Random()
        occupancy = occupancy or Occupancy.alone()
        self._occupancy = occupancy
        self._live = occupancy.live
        self._uniform = random.random
        self._outliers = Outliers(random, pause)
        self._numbers = Numbers()  # where nobody else gives them
        self._columns: dict[Counted, int] = {}
        self._paths: dict[str, Path] = {}
        self._pools: dict[str, tuple[Pool, ...]] = {}
        self._by_key: dict[tuple[str, str], Pool] = {}
        self._slow_starts: dict[str, float] = {}
        self._dialing = DEFAULT_DIALING
        self._budgets: dict[str, hedge.Budget] = {}
        self._late: dict[tuple[tuple[str, str], str], int] = {}  # attempts in a row, by worker

    # --- tables

    def apply(
        self, table: Table, now: float, wall: float, columns: Mapping[Counted, int] | None = None
    ) -> None:
        """Use a new table; `wall` is Unix time, `columns` are those that are new.

        A target that has come up anew may be tried at once, by one connection first.
        """
        if columns is None:
            columns = self._numbers.assign(table, 0)
        self._columns.update(columns)
        before, self._pools = self._pools, {}
        for service in table.services:
            old = {pool.targets.region: pool for pool in before.get(service.name, ())}
            same = service.slow_start == self._slow_starts.get(service.name)
            self._pools[service.name] = tuple(
                pool
                if same and pool is not None and pool.targets == region
                else self._renew(service, region, pool, now, wall)
                for region in service.regions
                for pool in (old.get(region.region),)
            )
        self._slow_starts = {service.name: service.slow_start for service in table.services}
        self._by_key = {pool.key: pool for pools in self._pools.values() for pool in pools}
        if table.outliers != self._outliers.policy:
            self._outliers.policy = table.outliers
            for pool in self._by_key.values():
                pool.until = -_INFINITY
        old_budgets = self._budgets if table.dialing == self._dialing else {}
        self._dialing = table.dialing
        self._budgets = {
            service.name: old_budgets.get(service.name) or self._budget(now)
            for service in table.services
        }
        self._forget(table, now)

    def _budget(self, now: float) -> hedge.Budget:
        return hedge.Budget(self._dialing.hedge_share, self._dialing.hedge_floor, now)

    def budget(self, service: str) -> hedge.Budget:
        """What a service has for attempts beside the first; one that is gone has nothing."""
        budget = self._budgets.get(service)
        return hedge.Budget(0.0, 0.0, 0.0) if budget is None else budget

    def pools(self, service: str) -> tuple[Pool, ...]:
        """The regions of a service as the newest table has them; none if it is gone."""
        return self._pools.get(service, ())

    def _renew(
        self, service: Service, region: RegionTargets, old: Pool | None, now: float, wall: float
    ) -> Pool:
        key = (service.name, region.region)
        known = {target.worker: target for target in old.targets.workers} if old else {}
        began: list[float] = []
        for target in region.workers:
            former = known.get(target.worker)
            if former is None or former.since != target.since:
                self._outliers.retry(key, target.worker, now)
                self._outliers.retry(key, None, now)
            elif (former.address, former.port) != (target.address, target.port):
                self._outliers.drop(key, target.worker)
            if not service.slow_start:
                continue
            if old is not None and old.began and former and former.since == target.since:
                began.append(old.began[old.index[target.worker]])
            else:
                # A clock that was set back must not keep it small for longer.
                began.append(now - max(0.0, wall - target.since))
        return Pool(
            key,
            region,
            self._columns[region.region, None],
            tuple(self._columns[region.region, target.worker] for target in region.workers),
            tuple(began),
        )

    def column_of(self, service: str) -> int:
        """Where the connections of a service are counted that has a limit of them."""
        return self._columns["", service]

    def _forget(self, table: Table, now: float) -> None:
        """Bound what is kept of that which the table does not name."""
        self._outliers.forget(self._by_key.keys(), now)
        regions = {region for _, region in self._by_key}
        if len(self._paths) > _MOST_PATHS:
            self._paths = {name: path for name, path in self._paths.items() if name in regions}
        if len(self._late) > _MOST_LATE:
            self._late.clear()
        if len(self._columns) > 2 * sum(len(pool.columns) + 1 for pool in self._by_key.values()):
            names = table.targets | {(region, None) for region in regions}
            names |= {("", service.name) for service in table.services}
            known = self._columns
            self._columns = {name: known[name] for name in names if name in known}

    # --- picking

    def dead(self, pool: Pool, now: float) -> bool:
        """Whether the region comes last: its way is silent, or all of its workers fail."""
        if now >= pool.until:
            self._arrange(pool, now)
        return pool.dead

    def take(self, pool: Pool, room: Room, tried: tuple[str, ...], now: float) -> int | Nobody:
        """Pick a worker and take a place there, to be given back by `give`."""
        if now >= pool.until:
            self._arrange(pool, now)
        occupancy = self._occupancy
        for _ in range(_TAKES):
            found = pool.pick(room, tried, self._live, self._uniform, now)
            if isinstance(found, Nobody):
                return found
            column = pool.columns[found]
            occupancy.take(column)
            occupancy.take(pool.column)
            if not pool.limited or self._fits(pool, found):
                if self._outliers.trying(pool.key, pool.targets.workers[found].worker, now):
                    pool.until = now
                return found
            self._give(column, pool.column)
        return _FULL

    def adopt(self, service: str, region: str, target: Target) -> tuple[Pool, int]:
        """Take a place for a connection that another process has made; see `give`.

        The target need not be in the table any more: then its region alone counts it.
        """
        pool, at = self._by_key.get((service, region)), None
        if pool is not None:
            at = pool.index.get(target.worker)
        if pool is None or at is None:
            column = self._columns.get((region, None), NOWHERE)
            pool, at = (
                Pool((service, region), RegionTargets(region, (target,)), column, (NOWHERE,)),
                0,
            )
        self._occupancy.take(pool.columns[at])
        self._occupancy.take(pool.column)
        return pool, at

    def give(self, pool: Pool, at: int) -> None:
        """The connection has ended, or was not made."""
        self._give(pool.columns[at], pool.column)
        pool.freed(at)

    def _give(self, column: int, region: int) -> None:
        self._occupancy.give(column)
        self._occupancy.give(region)

    def _fits(self, pool: Pool, at: int) -> bool:
        """Whether no hard limit is passed, now that the place is taken."""
        most, region = pool.targets.workers[at].hard_limit, pool.targets.hard_limit
        return (most is None or self._live(pool.columns[at]) <= most) and (
            region is None or self._live(pool.column) <= region
        )

    def _arrange(self, pool: Pool, now: float) -> None:
        view = self._outliers.view(pool.key, pool.index.keys(), now)
        shares, until = None, view.until
        slow_start = self._slow_starts.get(pool.key[0], 0.0)
        if slow_start and pool.began:
            up = [
                now - max(began, self._outliers.returned(pool.key, worker))
                for began, worker in zip(pool.began, pool.index, strict=True)
            ]
            if min(up, default=slow_start) < slow_start:
                shares = [share(slow_start, one) for one in up]
                until = min(until, now + step(slow_start))
        pool.arrange(shares, view.ejected, view.dead, until)

    # --- learning

    def path(self, region: str) -> Path:
        path = self._paths.get(region)
        if path is None:
            path = self._paths[region] = Path()
        return path

    def connected(self, pool: Pool, at: int, started: float, now: float) -> None:
        """An attempt that began at `started` has succeeded."""
        path = self.path(pool.targets.region)
        path.learn(now - started)
        path.heard(now)
        if self._late:
            self._late.pop((pool.key, pool.targets.workers[at].worker), None)
        if self._outliers.connected(pool.key, pool.targets.workers[at].worker, now):
            if pool.dead:
                self._outliers.retry_all(pool.key, now)
            self._arrange_soon(pool)

    def failed(self, pool: Pool, at: int, failure: Failure, started: float, now: float) -> None:
        """An attempt that began at `started` has failed."""
        path = self.path(pool.targets.region)
        key, outliers = pool.key, self._outliers
        if failure is Failure.REFUSED:
            path.heard(now)
            outliers.answered(key, now)
        elif failure is Failure.TIMEOUT and path.answered < started:
            path.silences += 1
            outliers.failed(key, None, failure, started, now)
        outliers.failed(key, pool.targets.workers[at].worker, failure, started, now)
        self._arrange_soon(pool)

    def late(self, pool: Pool, at: int, started: float, now: float) -> bool:
        """An attempt that began at `started` has had no answer for longer than usual.

        True if it is one too many: then the worker is set aside as after a failed attempt, or the
        way is, if nobody there has answered meanwhile. An answer ends it.
        """
        path, key, worker = (
            self.path(pool.targets.region),
            pool.key,
            pool.targets.workers[at].worker,
        )
        if path.usual is None:
            return False  # it may be as far as that
        silent = path.answered < started
        path.late += silent
        count = self._late[key, worker] = self._late.get((key, worker), 0) + 1
        changed = False
        if silent and path.late >= hedge.LATE_IN_A_ROW:
            changed = self._outliers.failed(key, None, Failure.TIMEOUT, started, now)
        elif not silent and count >= hedge.LATE_IN_A_ROW:
            changed = self._outliers.failed(key, worker, Failure.TIMEOUT, started, now)
        if changed:
            self._arrange_soon(pool)
        return changed

    def ended(self, pool: Pool, at: int, began: float, well: bool | None, now: float) -> None:
        """A session that began at `began` is over, and shows how the worker is (None: nothing)."""
        if well is None:
            return
        key, worker = pool.key, pool.targets.workers[at].worker
        if well:
            changed = self._outliers.proven(key, worker, began, now)
        else:
            changed = self._outliers.failed(key, worker, Failure.RESET, began, now)
        if changed:
            self._arrange_soon(pool)

    # --- what another version goes on with, see `handover.learned`

    @property
    def paths(self) -> Mapping[str, Path]:
        """By region."""
        return self._paths

    def records(self) -> Iterator[tuple[tuple[str, str], str | None, Record]]:
        """Against whom something is held, of those that the table names."""
        for pool in self._by_key.values():
            for worker, record in self._outliers.records(pool.key).items():
                if worker is None or worker in pool.index:
                    yield pool.key, worker, record

    def recall(self, key: tuple[str, str], worker: str | None, record: Record, now: float) -> None:
        """Hold this against whom the table names so."""
        pool = self._by_key.get(key)
        if pool is not None and (worker is None or worker in pool.index):
            self._outliers.recall(key, worker, record, now)
            self._arrange_soon(pool)

    def _arrange_soon(self, pool: Pool) -> None:
        now_used = self._by_key.get(pool.key)  # the connection may be of an older table
        if now_used is not None:
            now_used.until = -_INFINITY

    def ejections(self, now: float) -> Iterator[Ejection]:
        """Who is left alone now."""
        for pool in self._by_key.values():
            yield from self._outliers.ejections(pool.key, pool.index.keys(), now)
