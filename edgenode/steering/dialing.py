"""The attempts to reach a worker for a connection, from the first choice to the first byte.

Which target comes next is `dial`'s to say; here is what is done with sockets for it. At most two
attempts of a connection are under way; the header and the user's bytes go to the one that takes
them first, and the other is reset before it has had any.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from edgenode.steering import shortage, sysio, timeouts, upstream
from edgenode.steering.connection import Connection, Phase, Side
from edgenode.steering.counters import Counters
from edgenode.steering.dial import Attempt, Dial, Limits
from edgenode.steering.faults import NO_PORT, NO_ROOM, kind
from edgenode.steering.flow import Flow
from edgenode.steering.introduction import Introduction
from edgenode.steering.loop import Loop
from edgenode.steering.memory import Memory
from edgenode.steering.shortage import Shortage
from edgenode.steering.sysio import END, ERROR, OUTPUT, WATCH_BOTH, WATCH_INPUT
from edgenode.steering.warming import Warming
from edgenode.steering.why import Why

# A member of an enumeration is found by a method of Python 3.11's, each time.
_DIALING, _LIVE = Phase.DIALING, Phase.LIVE
_CLIENT_RESET, _FULL, _NO_PORTS = Why.CLIENT_RESET, Why.FULL, Why.NO_PORTS
_NO_REGION, _NO_ROOM, _NO_TARGET = Why.NO_REGION, Why.NO_ROOM, Why.NO_TARGET

_EARLY = 1e-6  # seconds: the timers' slots and times that were added differ by less


class Dialing:
    """`end(connection, why)` is called for a connection that reaches nobody."""

    def __init__(
        self,
        loop: Loop,
        counters: Counters,
        memory: Memory,
        limits: Limits,
        flow: Flow,
        warming: Warming,
        end: Callable[[Connection, Why], None],
    ) -> None:
        self._loop = loop
        self._counters = counters
        self._memory = memory
        self._limits = limits
        self._flow = flow
        self._warming = warming
        self._end = end
        self._introduction = Introduction()

    def begin(self, connection: Connection, client: Side) -> None:
        """Dial for a connection whose service is known; what is held goes to the worker first."""
        service = connection.route.service
        if not service.regions:
            self._end(connection, _NO_REGION)
            return
        if service.proxy_protocol != "none":
            header = self._introduction.header(connection)
            connection.header_size = len(header)
            client.held = header + client.held
        self._memory.budget(service.name).earn(self._loop.now)
        connection.dialed = self._loop.now
        if not self._take_first_bytes(connection, client):
            return
        if service.warm and self._go_warm(connection, client, service.name):
            return
        connection.dial = Dial(service, self._memory, self._loop.now, self._limits)
        self._next_attempt(connection, client)

    def on_answer(self, worker: Side, event: int) -> None:
        """An event of a worker's side before the connection is live: it has accepted or refused."""
        connection = worker.connection
        client = self._loop.sides[connection.client_fd]
        if event & (ERROR | END) and (failed := sysio.take_error(worker.fd)):
            self._attempt_failed(connection, client, worker.fd, failed)
        elif event & OUTPUT:
            if not self._take_first_bytes(connection, client):
                return
            failed = self._send_first_bytes(connection, client, worker)
            if failed:
                self._attempt_failed(connection, client, worker.fd, failed)
                return
            if connection.phase is _DIALING and not client.held:
                self._established(connection, client, worker, 0)
            if connection.phase is _LIVE and event & ~OUTPUT:
                self._flow.on_event(worker, event & ~OUTPUT)

    def on_timer(self, connection: Connection) -> None:
        """An attempt has had no answer in its time, or is late."""
        client = self._loop.sides[connection.client_fd]
        attempt, rival = connection.attempt, connection.rival
        assert attempt is not None
        now = self._loop.now + _EARLY
        if rival is not None and now >= rival.until:
            self._note_failure(connection, connection.rival_fd, errno.ETIMEDOUT)
        if now >= attempt.until:
            self._attempt_failed(connection, client, connection.worker_fd, errno.ETIMEDOUT)
            return
        if now >= attempt.late_at:
            self._race(connection, client, attempt)
        if connection.phase is _DIALING:
            self._set_timer(connection)

    def _go_warm(self, connection: Connection, client: Side, service: str) -> bool:
        """Give the user a connection that was kept ready; False if there is none that is good."""
        loop, warming = self._loop, self._warming
        while (one := warming.take(service)) is not None:
            connection.attempts += 1
            connection.attempt, connection.worker_fd = one.attempt, one.fd
            worker = loop.sides[one.fd] = Side(
                one.fd, client.fd, connection, connection.route.count.down, watches_output=True
            )
            worker.watched = True
            failed = self._send_first_bytes(connection, client, worker)
            if connection.phase is _DIALING and not failed and not client.held:
                self._established(connection, client, worker, 0)
            well = connection.phase is not _DIALING
            warming.used(service, well)
            if well:
                return True
            # Nothing was taken from us, so nothing is lost.
            connection.attempt, connection.worker_fd = None, -1
            del loop.sides[one.fd]
            loop.closing.add(one.fd, reset=True)
            self._memory.give(one.attempt.pool, one.attempt.at)
        return False

    def _next_attempt(self, connection: Connection, client: Side) -> None:
        """Try targets until one is under way; end the connection if there is none left."""
        dial = connection.dial
        assert dial is not None
        why = _NO_TARGET
        while (attempt := dial.next(self._loop.now)) is not None:
            connection.attempts += 1
            connection.attempt = attempt
            failed = self._try(connection, client, attempt)
            if failed == 0:
                return
            if failed in NO_ROOM:  # another target would not help
                connection.errors += (errno.errorcode[failed],)
                why = _NO_ROOM
                break
            why = _NO_PORTS if failed == NO_PORT else _NO_TARGET
            self._note_failure(connection, connection.worker_fd, failed)
        connection.route.count.failed += 1
        connection.route.count.full += dial.full
        self._end(connection, _FULL if dial.full else why)

    def _race(self, connection: Connection, client: Side, late: Attempt) -> None:
        """Start a second attempt beside one that is late, if there may be one."""
        dial, counted = connection.dial, connection.route.count.dialing
        assert dial is not None
        if dial.late(late, self._loop.now):
            self._counters.fresh_failures.add(late.key)
        if connection.rival is not None:
            return
        rival = dial.race(late, self._loop.now)
        if rival is None:
            counted.budget_exhausted += dial.exhausted
            return
        counted.hedged += 1
        connection.attempts += 1
        connection.rival = rival
        failed = self._try(connection, client, rival)
        if failed in NO_ROOM:  # it is not to blame
            connection.errors += (errno.errorcode[failed],)
            self._counters.lacked(shortage.named(errno.errorcode[failed]))
            self._give_up_rival(connection, rival)
        elif failed:
            self._note_failure(connection, connection.rival_fd, failed)

    def _try(self, connection: Connection, client: Side, attempt: Attempt) -> int:
        """Start an attempt; return an error number, 0 if it is under way or has succeeded."""
        loop = self._loop
        try:
            fd = upstream.begin(connection.route.bind, attempt.target)
        except OSError as error:
            return error.errno or errno.EIO
        if attempt is connection.rival:
            connection.rival_fd = fd
        else:
            connection.worker_fd = fd
        worker = loop.sides[fd] = Side(
            fd, client.fd, connection, connection.route.count.down, watches_output=True
        )
        # On a short way the connection stands already, and the bytes go without another round.
        failed = self._send_first_bytes(connection, client, worker)
        if failed:
            return failed
        if connection.phase is _DIALING:
            self._set_timer(connection)
        worker.watched = True
        try:
            loop.epoll.register(fd, WATCH_BOTH if worker.watches_output else WATCH_INPUT)
        except OSError as error:
            failed = error.errno or errno.EIO
            if connection.phase is _DIALING:
                return failed
            connection.errors += (errno.errorcode[failed],)
            self._end(connection, _NO_ROOM)
        return 0

    def _set_timer(self, connection: Connection) -> None:
        """Look at the connection when the first of its attempts is over, or late."""
        attempt, rival = connection.attempt, connection.rival
        assert attempt is not None
        due = min(attempt.until, attempt.late_at)
        if rival is not None and rival.until < due:
            due = rival.until
        self._loop.timers.set(connection, due)

    def _take_first_bytes(self, connection: Connection, client: Side) -> bool:
        """Read what the user has sent so far, once; False if the user is gone."""
        if len(client.held) > connection.header_size or client.eof or upstream.read_first(client):
            return True
        self._end(connection, _CLIENT_RESET)
        return False

    def _send_first_bytes(self, connection: Connection, client: Side, worker: Side) -> int:
        """Send the header and the first bytes at once; return an error number.

        Nothing happens if the worker has not answered yet. Once a byte was taken the connection
        is live, and never tries another target.
        """
        try:
            size = upstream.send_first(client, worker)
        except OSError as error:
            return error.errno or errno.EIO
        if size:
            self._established(connection, client, worker, size)
        return 0

    def _established(self, connection: Connection, client: Side, worker: Side, sent: int) -> None:
        dial, now = connection.dial, self._loop.now
        if connection.rival is not None:
            self._decide(connection, worker.fd)
        attempt = connection.attempt
        assert attempt is not None
        if dial is not None:
            dial.connected(attempt, now)
            connection.dial = None
        connection.phase = _LIVE
        connection.connected = connection.active = now
        took = now - connection.dialed
        region = self._counters.connected(connection.route.count, attempt.key, took)
        client.meter, worker.meter = region.up, region.down
        client.peer_fd = worker.fd
        client.moved = sent - connection.header_size  # below 0 until the header is taken
        client.meter.bytes += max(0, client.moved)
        # Watching both ways has begun if the worker had to be waited for; else input is enough.
        worker.watches_output = worker.watched or bool(client.held)
        timeouts.watch(self._loop.timers, connection)
        if client.watched or client.eof:
            self._flow.pump(client)  # events that came while dialing were left alone

    def _decide(self, connection: Connection, winner: int) -> None:
        """Of two attempts the one at this descriptor has won: nothing was sent to the other."""
        if winner == connection.rival_fd:
            connection.route.count.dialing.hedge_won += 1
            _swap(connection)
        loser = connection.rival
        assert loser is not None
        connection.errors += (f"{loser.region}/{loser.target.worker} slower",)
        self._give_up_rival(connection, loser)

    def _give_up_rival(self, connection: Connection, rival: Attempt) -> None:
        self._memory.give(rival.pool, rival.at)
        self._drop_rival(connection, reset=True)

    def _attempt_failed(self, connection: Connection, client: Side, fd: int, failed: int) -> None:
        self._note_failure(connection, fd, failed)
        if connection.attempt is None:
            self._next_attempt(connection, client)
        else:
            self._set_timer(connection)

    def _note_failure(self, connection: Connection, fd: int, failed: int) -> None:
        """An attempt has failed; of two, the other is `attempt` now."""
        dial, loop = connection.dial, self._loop
        assert dial is not None
        loop.timers.cancel(connection)
        if connection.rival is None or fd != connection.rival_fd:
            _swap(connection)
        attempt = connection.rival
        assert attempt is not None
        name = errno.errorcode.get(failed, str(failed))
        connection.errors += (f"{attempt.region}/{attempt.target.worker} {name}",)
        if failed == NO_PORT:
            self._counters.lacked(Shortage.PORTS)
            dial.unmade(attempt)
        else:
            failure = kind(failed)
            self._counters.attempt_failed(connection.route.count, attempt.key, failure)
            dial.failed(attempt, failure, loop.now)  # its place is given back
        self._drop_rival(connection, reset=False)

    def _drop_rival(self, connection: Connection, reset: bool) -> None:
        connection.rival = None
        if connection.rival_fd >= 0:
            del self._loop.sides[connection.rival_fd]
            self._loop.closing.add(connection.rival_fd, reset)
            connection.rival_fd = -1


def _swap(connection: Connection) -> None:
    """Let the two attempts change places."""
    connection.attempt, connection.rival = connection.rival, connection.attempt
    connection.worker_fd, connection.rival_fd = connection.rival_fd, connection.worker_fd
