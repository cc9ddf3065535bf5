"""The relay: the loop that drives all connections of a relay worker.

accepted → (waiting →) (preface →) dialing → live → closed. `acceptor` takes connections, `entrance`
says which are admitted, `dialing` finds them a worker, `flow` moves their bytes and `ending` closes
them; here is the round in which each gets its turn.

In each round: events, sides whose budget ran out, timers, closing, accepting. Descriptors are
closed only after all events of a round, so that none is reused while events may still name it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from socket import socket

from edgenode.steering import door, sysio, timeouts
from edgenode.steering.acceptor import Acceptor
from edgenode.steering.accesslog import AccessLog
from edgenode.steering.admission import Admission
from edgenode.steering.connection import Connection, Phase
from edgenode.steering.counters import Counters
from edgenode.steering.dead import Dead
from edgenode.steering.dial import DEFAULT_LIMITS, Limits
from edgenode.steering.dialing import Dialing
from edgenode.steering.ending import Ending
from edgenode.steering.entrance import Entrance
from edgenode.steering.flow import Flow
from edgenode.steering.handover.parts import Parts
from edgenode.steering.loop import Loop
from edgenode.steering.memory import Memory
from edgenode.steering.occupancy import Counted, Occupancy
from edgenode.steering.outliers import Ejection
from edgenode.steering.pace import Pace
from edgenode.steering.sources import Sources
from edgenode.steering.table import Table
from edgenode.steering.warming import Warming
from edgenode.steering.why import Why

_LIVE = Phase.LIVE


class Relay:
    """One relay worker's connections. `limit` is the number of connections at a time."""

    def __init__(
        self,
        log: AccessLog,
        limit: int,
        limits: Limits = DEFAULT_LIMITS,
        occupancy: Occupancy | None = None,
        sources: Sources | None = None,
    ) -> None:
        self.counters = Counters()
        self._log = log
        self._loop = loop = Loop()
        occupancy = occupancy or Occupancy.alone()
        self._memory = Memory(occupancy, pause=limits.pause)
        self._admission = Admission(occupancy, sources)
        self._ending = Ending(loop, self.counters, self._memory, log)
        end = self._ending.end
        self._flow = Flow(loop, end)
        self._warming = warming = Warming(loop, self.counters, self._memory)
        self._dialing = Dialing(loop, self.counters, self._memory, limits, self._flow, warming, end)
        self._entrance = Entrance(loop, limit, self._dialing.begin, end)
        self._acceptor = Acceptor(
            loop.epoll, self.counters, self._entrance.room, self._entrance.opened
        )
        self._pace = Pace(loop.now)
        self._dead = Dead(loop, end)
        self._watched: dict[int, Callable[[], None]] = {}

    def parts(self) -> Parts:
        """What a handover reads and fills."""
        return Parts(
            self._loop,
            self.counters,
            self._memory,
            self._ending,
            self._flow,
            self._dialing,
            self._entrance,
            self._acceptor,
        )

    @property
    def now(self) -> float:
        """When the events of this round were read, in seconds of the monotonic clock."""
        return self._loop.now

    @property
    def live(self) -> int:
        """Connections that there are."""
        return self._loop.live

    def add_listener(self, listen: str, listener: socket) -> None:
        """Take over a listening socket; it is accepted from once a table names its address."""
        self._acceptor.add(listen, listener)

    def apply(self, table: Table, columns: Mapping[Counted, int] | None = None) -> None:
        """Use the table for new connections, and close the listeners that it does not name.

        `columns`: where what the last table did not name is counted (None: for this relay alone).
        """
        self._admission.apply(table)
        routes, doors = door.arrange(table, self.counters, self._admission)
        self._acceptor.route(routes, doors, self.now)
        self._entrance.apply(doors)
        self._memory.apply(table, self.now, time.time(), columns)
        self._admission.number(self._memory.column_of)
        self._ending.apply(table.logging)
        self._warming.apply(table)
        self._dead.apply(table)
        self.counters.forget(table)

    def ejections(self) -> Iterator[Ejection]:
        """Whom new connections leave alone; `until` is Unix time."""
        for one in self._memory.ejections(self.now):
            yield replace(one, until=one.until + self._ending.wall)

    def pace(self) -> tuple[float, float]:
        """See `Pace`: of the time since this was asked last."""
        return self._pace.taken(self._loop.now)

    def log_long(self) -> None:
        """Let connections that have lasted have a line; to be called about once a second."""
        self._ending.log_long()

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back at the end of each round in which the descriptor is readable."""
        self._watched[fd] = callback
        self._loop.epoll.register(fd, sysio.INPUT)

    def stop_accepting(self) -> None:
        """Accept no more; connections that wait for their first bytes are closed."""
        self._acceptor.close()
        self._warming.stop()
        for connection in list(self._loop.connections.values()):
            if connection.phase is Phase.WAITING:
                self._ending.end(connection, Why.LOCAL_PROBE)

    def abort_all(self, why: Why) -> None:
        """Reset all connections."""
        for connection in list(self._loop.connections.values()):
            self._ending.end(connection, why)
        self._warming.stop()
        self._loop.closing.close_all()
        self._log.flush()

    def step(self, until: float) -> None:
        """One round; waits for events until the given time at the latest."""
        loop, flow, warming = self._loop, self._flow, self._warming
        acceptor, entrance, dialing = self._acceptor, self._entrance, self._dialing
        waits = sysio.monotonic()
        self._pace.worked(waits - loop.now)
        epoll, sides = loop.epoll, loop.sides
        count = epoll.wait(self._wait(until, waits))
        loop.now = now = sysio.monotonic()
        called: list[Callable[[], None]] | None = None
        for at in range(count):
            fd, event = epoll.fd(at), epoll.events(at)
            side = sides.get(fd)
            if side is None:
                if acceptor.on_event(fd) or warming.on_event(fd, event):
                    continue
                if fd in self._watched:
                    called = called or []
                    called.append(self._watched[fd])
            elif side.connection.phase is _LIVE:
                flow.on_event(side, event)
            elif side.fd == side.connection.client_fd:
                entrance.on_event(side, event)
            else:
                dialing.on_answer(side, event)
        if flow.unfinished:
            flow.resume()
        for one in loop.timers.expired(now):
            assert isinstance(one, Connection)
            self._on_timer(one)
        if warming.active:
            warming.tend(now)
        if now >= self._dead.due:
            self._dead.go_on()
        loop.closing.close_all()
        acceptor.accept(now)
        if called is not None:
            for callback in called:
                callback()
        loop.closing.close_all()
        ending = self._ending
        ending.flush()

    def _on_timer(self, connection: Connection) -> None:
        if connection.phase is Phase.DIALING:
            self._dialing.on_timer(connection)
        elif connection.phase is Phase.PREFACE:
            self._entrance.timed_out(connection)
        elif why := timeouts.over(connection, self.now):
            self._ending.end(connection, why)
        else:
            timeouts.watch(self._loop.timers, connection)

    def _wait(self, until: float, now: float) -> float:
        """How long the loop may wait for events, in seconds."""
        if self._flow.unfinished:
            return 0.0
        ending = self._ending
        due = min(
            until,
            self._loop.timers.next_due(),
            self._acceptor.next_due(),
            ending.next_due(),
            self._warming.next_due(),
            self._dead.due,
        )
        return due - now if due > now else 0.0
