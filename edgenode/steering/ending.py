"""The end of a connection: its sockets, its place at the worker, and its line in the log."""

from __future__ import annotations

import time

from edgenode.steering import shortage, sysio, upstream
from edgenode.steering.accesslog import FLUSH_INTERVAL, AccessLog, describe
from edgenode.steering.admission import OUTSIDE
from edgenode.steering.connection import Connection, Phase
from edgenode.steering.counters import Counters
from edgenode.steering.dial import Attempt
from edgenode.steering.longlived import LongLived
from edgenode.steering.loop import Loop
from edgenode.steering.memory import Memory
from edgenode.steering.table import DEFAULT_LOGGING, Logging
from edgenode.steering.why import IN_ORDER, ORDINARY, Why

# A member of an enumeration is found by a method of Python 3.11's, each time.
_CLOSED, _LIVE, _WAITING = Phase.CLOSED, Phase.LIVE, Phase.WAITING
_LOCAL_PROBE, _NO_ROOM = Why.LOCAL_PROBE, Why.NO_ROOM
_CLIENT_GONE = (Why.CLIENT_RESET, Why.CLIENT_SILENT)
_WORKER_GONE = (Why.WORKER_RESET, Why.WORKER_SILENT)

_never = float("inf")
_LONG = 1.0
"""Seconds from which on a session is asked about."""
_ONE_IN = 16


class Ending:
    """Closes connections.

    The kernel is asked about the way to the user at the end of each session that lasted a second
    or ended badly, and of one in 16 of the others: a system call more for each would be felt.
    """

    def __init__(self, loop: Loop, counters: Counters, memory: Memory, log: AccessLog) -> None:
        self.wall = time.time() - loop.now
        """What is added to the monotonic clock for Unix time."""
        self._loop = loop
        self._counters = counters
        self._memory = memory
        self._log = log
        self._flush_at = 0.0
        self._sample = 1.0
        self._owed = 0.0  # lines of ordinary connections, by the sample
        self._long = LongLived(DEFAULT_LOGGING.long_after)

    def apply(self, logging: Logging) -> None:
        """Which lines are written from now on."""
        self._sample = logging.sample
        self._long.every = logging.long_after

    def end(self, connection: Connection, why: Why) -> None:
        """Close both sides: in order if all has been passed on, else with RST.

        A FIN would tell the peer that it has everything. Where that is so, and the other side was
        reset after its end, a RST must not take back what is still on its way.
        """
        if connection.phase is _CLOSED:
            return
        loop, count = self._loop, connection.route.count
        reset = why not in IN_ORDER
        if connection.attempt is not None:
            self._leave(connection, connection.attempt, why)
        if connection.rival is not None:
            self._memory.give(connection.rival.pool, connection.rival.at)
        if connection.phase is _WAITING:
            loop.waiting -= 1
        if connection.awaited is not None:  # it never got to the service's users
            count.accepted += 1
        connection.phase = _CLOSED
        count.live -= 1
        loop.live -= 1
        loop.timers.cancel(connection)
        del loop.connections[connection.number]
        if connection.source != OUTSIDE and connection.route.guard is not None:
            connection.route.guard.leave(connection.source)
        client = loop.sides.pop(connection.client_fd)
        loop.stuck -= client.stuck
        loop.pipes.drop(client)
        connection.bytes_up = max(0, client.moved)
        if connection.worker_fd >= 0:
            worker = loop.sides.pop(connection.worker_fd)
            loop.stuck -= worker.stuck
            loop.pipes.drop(worker)
            connection.bytes_down = worker.moved
            if why in _CLIENT_GONE and client.end_passed:
                loop.closing.add(worker.fd, not sysio.unsent(worker.fd))
            else:
                loop.closing.add(worker.fd, reset)
            if why in _WORKER_GONE and worker.end_passed:
                reset = not sysio.unsent(client.fd)
        if connection.rival_fd >= 0:
            del loop.sides[connection.rival_fd]
            loop.closing.add(connection.rival_fd, reset=True)
        loop.closing.add(client.fd, reset)
        count.ended(why)
        if why is _NO_ROOM:
            self._counters.lacked(shortage.named(connection.errors[-1]))
        if why is _LOCAL_PROBE:
            count.local_probes += 1
            return
        began, ordinary = connection.connected, why in ORDINARY
        if began is not None and (
            not ordinary or loop.now - began >= _LONG or connection.number % _ONE_IN == 0
        ):
            self._ask(connection)
        if ordinary and self._sample < 1.0:
            self._owed += self._sample
            if self._owed < 1.0:
                return
            self._owed -= 1.0
        self._log.add(describe(connection, why, loop.now, self.wall))

    def log_long(self) -> None:
        """Write a line for connections that have lasted; to be called about once a second."""
        loop = self._loop
        self.wall = time.time() - sysio.monotonic()  # the clock may have been stepped
        for number in self._long.due(loop.connections, loop.now):
            connection = loop.connections.get(number)
            if connection is None or connection.phase is not _LIVE:
                continue
            if loop.now - connection.started >= self._long.every:
                connection.bytes_up = max(0, loop.sides[connection.client_fd].moved)
                connection.bytes_down = loop.sides[connection.worker_fd].moved
                self._ask(connection)
                self._log.add(describe(connection, None, loop.now, self.wall))

    def flush(self) -> None:
        """Write what has waited long enough."""
        now = self._loop.now
        if self._log.waiting and now >= self._flush_at:
            self._flush_at = now + FLUSH_INTERVAL
            self._log.flush()

    def next_due(self) -> float:
        """When `flush` is needed next; infinity: not at all."""
        return self._flush_at if self._log.waiting else _never

    def _ask(self, connection: Connection) -> None:
        """What the way to the user was like."""
        try:
            connection.rtt, segments, again = sysio.tcp_info(connection.client_fd)
        except OSError:
            return
        connection.retransmits = again
        if connection.phase is _CLOSED:
            connection.route.count.asked(connection.rtt, segments, again)

    def _leave(self, connection: Connection, attempt: Attempt, why: Why) -> None:
        """Give back the place at the worker, and tell how it was there."""
        pool, at, began = attempt.pool, attempt.at, connection.connected
        self._memory.give(pool, at)
        if began is None:
            return
        self._counters.closed(connection.route.count, attempt.key)
        sides, now = self._loop.sides, self._loop.now
        client, worker = sides[connection.client_fd], sides[connection.worker_fd]
        well = upstream.verdict(client, worker, why, now - began)
        self._memory.ended(pool, at, began, well, now)
