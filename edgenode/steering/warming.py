"""Keeping connections ready, see `warm`: their sockets, and their places at the workers.

They go to the region that is the first choice now. Nothing is ever sent on them before they are a
user's, and whoever sends something before, or closes, is thrown away. A user's own attempts go on
as ever where there is none.
"""

from __future__ import annotations

import errno

from edgenode.steering import sysio, upstream
from edgenode.steering.counters import Counters
from edgenode.steering.dial import Attempt
from edgenode.steering.faults import NO_ROOM, kind
from edgenode.steering.loop import Loop
from edgenode.steering.memory import Memory
from edgenode.steering.outliers import Failure
from edgenode.steering.pick import Nobody, Pool, Room
from edgenode.steering.sysio import END, ERROR, INPUT, OUTPUT, WATCH_BOTH
from edgenode.steering.table import Bind, Service, Table
from edgenode.steering.warm import Reserve, Warm

INTERVAL = 0.1
"""Seconds between two looks at all, where nothing happens."""

_never = float("inf")

BURST = 16
"""Of a service, that are dialed in one round."""


class Warming:
    """`active`: whether there is anything to do."""

    def __init__(self, loop: Loop, counters: Counters, memory: Memory) -> None:
        self.active = False
        self._loop = loop
        self._counters = counters
        self._memory = memory
        self._bind = Bind()
        self._services: dict[str, Service] = {}
        self._reserves: dict[str, Reserve] = {}
        self._by_fd: dict[int, tuple[str, Warm]] = {}
        self._due = 0.0
        self._stopped = False

    def apply(self, table: Table) -> None:
        """Use a new table; to be called when the memory has it."""
        if self._stopped:
            return
        if table.bind != self._bind:
            self.close()  # they have left by another way
        self._bind = table.bind
        self._services = {one.name: one for one in table.services if one.warm}
        for name in self._reserves.keys() - self._services.keys():
            self._close_all(name)
            del self._reserves[name]
        for name, service in self._services.items():
            reserve = self._reserves.setdefault(name, Reserve(service.warm, 0.0))
            reserve.wanted, reserve.age = service.warm, table.dialing.warm_age
        self.active = bool(self._services)
        self._due = 0.0

    def stop(self) -> None:
        """Keep none from now on."""
        self._stopped = True
        self.close()

    def close(self) -> None:
        """Keep none, until the next table."""
        for name in self._reserves:
            self._close_all(name)
        self._services = {}
        self.active = False

    def take(self, service: str) -> Warm | None:
        """One that a user may have; its place is the user's from now on, and its descriptor.

        To be told by `used` what came of it.
        """
        reserve = self._reserves.get(service)
        now = self._loop.now
        while reserve is not None and (one := reserve.newest()) is not None:
            self._due = now
            if not self._fits(service, one.attempt):
                self._close(service, one)
            elif sysio.is_quiet(one.fd):
                reserve.take(one)
                del self._by_fd[one.fd]
                return one
            else:
                self._lose(service, one)
        return None

    def used(self, service: str, well: bool) -> None:
        """A user's first bytes have gone to one that was taken, or it did not take them."""
        counted = self._counters.service(service).dialing
        counted.warm_used += well
        counted.warm_discarded += not well

    def on_event(self, fd: int, event: int) -> bool:
        """An event of one that nobody has; False if the descriptor is none of ours."""
        found = self._by_fd.get(fd)
        if found is None:
            return False
        name, one = found
        now, attempt = self._loop.now, one.attempt
        if one.stood is not None:
            if event & (INPUT | END | ERROR):
                self._lose(name, one)
        elif event & (ERROR | END):
            self._failed(name, one, sysio.take_error(fd) or errno.ECONNRESET)
        elif event & OUTPUT:
            self._reserves[name].stands(one, now)
            self._memory.connected(attempt.pool, attempt.at, attempt.started, now)
            if event & INPUT:
                self._lose(name, one)
        return True

    def tend(self, now: float) -> None:
        """Throw away what is old, or goes where no user would be sent now; dial for others."""
        if now < self._due:
            return
        self._due = now + INTERVAL
        for name, service in self._services.items():
            reserve = self._reserves[name]
            for one in reserve.silent(now):
                self._failed(name, one, errno.ETIMEDOUT)
            for one in reserve.over(now):
                self._close(name, one)
            for one in list(reserve.all):
                if not self._fits(name, one.attempt):
                    self._close(name, one)
            for _ in range(min(BURST, reserve.missing(now))):
                if not self._dial(service, reserve, now):
                    break

    def next_due(self) -> float:
        """When `tend` is needed next; infinity: not at all."""
        return self._due if self.active else _never

    def _first(self, service: str) -> Pool | None:
        """The region that new users are sent to now."""
        for pool in self._memory.pools(service):
            if not self._memory.dead(pool, self._loop.now):
                return pool
        return None

    def _fits(self, service: str, attempt: Attempt) -> bool:
        """Whether a user might be sent there now."""
        first = self._first(service)
        return first is not None and first.key == attempt.pool.key and first.takes(attempt.target)

    def _dial(self, service: Service, reserve: Reserve, now: float) -> bool:
        """Begin one; False if there is no room, or it failed at once."""
        pool = self._first(service.name)
        if pool is None:
            return False
        at = self._memory.take(pool, Room.SOFT, (), now)
        if isinstance(at, Nobody):
            return False
        region, target = pool.targets.region, pool.targets.workers[at]
        attempt = Attempt(region, target, service.connect_timeout, pool, at, now)
        try:
            fd = upstream.begin(self._bind, target)
        except OSError as error:
            one = Warm(-1, attempt)
            reserve.all.append(one)
            if error.errno in NO_ROOM:  # the worker is not to blame
                reserve.ended(one, now)
                self._drop(one)
            else:
                self._failed(service.name, one, error.errno or errno.EIO)
            return False
        one = Warm(fd, attempt)
        reserve.all.append(one)
        self._by_fd[fd] = (service.name, one)
        try:
            self._loop.epoll.register(fd, WATCH_BOTH)
        except OSError:  # the kernel has no memory left for it, see epoll_ctl(2)
            reserve.ended(one, now)
            self._drop(one)
            return False
        return True

    def _failed(self, service: str, one: Warm, failed: int) -> None:
        """The worker has refused or not answered: that is told like a user's attempt."""
        attempt, now = one.attempt, self._loop.now
        self._reserves[service].ended(one, now)
        self._drop(one)
        failure: Failure = kind(failed)
        self._memory.failed(attempt.pool, attempt.at, failure, attempt.started, now)
        self._counters.attempt_failed(self._counters.service(service), attempt.key, failure)

    def _lose(self, service: str, one: Warm) -> None:
        """The worker has closed it, or spoken before it was anybody's."""
        self._counters.service(service).dialing.warm_discarded += 1
        self._reserves[service].ended(one, self._loop.now)
        self._drop(one)

    def _close(self, service: str, one: Warm) -> None:
        self._reserves[service].take(one)
        self._drop(one)

    def _close_all(self, service: str) -> None:
        for one in list(self._reserves[service].all):
            self._close(service, one)

    def _drop(self, one: Warm) -> None:
        """Its place and its socket. A FIN is enough: nothing was ever sent on it."""
        self._memory.give(one.attempt.pool, one.attempt.at)
        if one.fd >= 0:
            del self._by_fd[one.fd]
            self._loop.closing.add(one.fd, reset=False)
