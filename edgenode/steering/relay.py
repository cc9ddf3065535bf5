"""The relay: the life of each connection, and the loop that drives it.

accepted → (waiting →) dialing → live → closed. Bytes are moved by `flow`, connections are taken by
`acceptor`, targets are chosen by `dial`; here is what ties them to descriptors and time.

In each round: events, sides whose budget ran out, timers, closing, accepting. Descriptors are
closed only after all events of a round, so that none is reused while events may still name it.
"""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from socket import socket

from edgenode.steering import proxyprotocol, sysio, upstream
from edgenode.steering.acceptor import Acceptor, Listener
from edgenode.steering.accesslog import FLUSH_INTERVAL, AccessLog, describe
from edgenode.steering.closing import Closing
from edgenode.steering.connection import CHUNK, Connection, Phase, Route, Side
from edgenode.steering.counters import Counters
from edgenode.steering.dial import DEFAULT_LIMITS, Attempt, Dial, Limits
from edgenode.steering.faults import NO_ROOM, kind
from edgenode.steering.flow import END, ERROR, OUTPUT, WATCH_BOTH, WATCH_INPUT, Flow, SideTable
from edgenode.steering.memory import Memory
from edgenode.steering.occupancy import Counted, Occupancy
from edgenode.steering.outliers import Ejection
from edgenode.steering.table import Table
from edgenode.steering.timers import Timers

_MAX_EVENTS = 512
_IDLE_SLACK = 1 / 16  # an idle connection may be closed later by this share of the timeout
_MOST_WAITING = 64  # local probes that may hold a connection without a word


class Relay:
    """One relay worker's connections. `limit` is the number of connections at a time.

    Local probes that wait for their first bytes do not count: health checks hold them for as long
    as they like. A few dozen have places of their own, more are reset.
    """

    def __init__(
        self,
        log: AccessLog,
        limit: int,
        limits: Limits = DEFAULT_LIMITS,
        occupancy: Occupancy | None = None,
    ) -> None:
        self.counters = Counters()
        self.live = 0
        self._waiting = 0
        self.now = time.monotonic()
        self._log = log
        self._limit = limit
        self._limits = limits
        self._memory = Memory(occupancy, pause=limits.pause)
        self._epoll = select.epoll()
        self._sides: SideTable = {}
        self._connections: dict[int, Connection] = {}
        self._next_number = 0
        self._flow = Flow(self._epoll, self._sides, self._end)
        self._acceptor = Acceptor(self._epoll, self.counters, self._room, self._opened)
        self._timers = Timers()
        self._closing = Closing()
        self._watched: dict[int, Callable[[], None]] = {}
        self._flush_at = 0.0
        self._wall = time.time() - self.now

    # --- what the process around it calls

    def add_listener(self, listen: str, listener: socket) -> None:
        """Take over a listening socket; it is accepted from once a table names its address."""
        self._acceptor.add(listen, listener)

    def apply(self, table: Table, columns: Mapping[Counted, int] | None = None) -> None:
        """Use the table for new connections, and close the listeners that it does not name.

        `columns`: where what the last table did not name is counted (None: for this relay alone).
        """
        routes = {}
        for service in table.services:
            route = Route(service, self.counters.service(service.name), table.bind)
            routes.update(dict.fromkeys(service.listen, route))
        self._acceptor.route(routes, self.now)
        self._memory.apply(table, self.now, time.time(), columns)
        self.counters.forget(table)

    def ejections(self) -> Iterator[Ejection]:
        """Whom new connections leave alone; `until` is Unix time."""
        for one in self._memory.ejections(self.now):
            yield replace(one, until=one.until + self._wall)

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back at the end of each round in which the descriptor is readable."""
        self._watched[fd] = callback
        self._epoll.register(fd, select.EPOLLIN)

    def stop_accepting(self) -> None:
        """Accept no more; connections that wait for their first bytes are closed."""
        self._acceptor.close()
        for connection in list(self._connections.values()):
            if connection.phase is Phase.WAITING:
                self._end(connection, "local-probe")

    def abort_all(self, why: str) -> None:
        """Reset all connections."""
        for connection in list(self._connections.values()):
            self._end(connection, why)
        self._closing.close_all()
        self._log.flush()

    def step(self, until: float) -> None:
        """One round; waits for events until the given time at the latest."""
        events = self._epoll.poll(self._wait(until), _MAX_EVENTS)
        self.now = self._flow.now = now = time.monotonic()
        sides, flow = self._sides, self._flow
        called: list[Callable[[], None]] = []
        for fd, event in events:
            side = sides.get(fd)
            if side is None:
                if not self._acceptor.on_event(fd) and fd in self._watched:
                    called.append(self._watched[fd])
            elif side.connection.phase is Phase.LIVE:
                flow.on_event(side, event)
            else:
                self._on_early_event(side, event)
        if flow.unfinished:
            flow.resume()
        for number in self._timers.expired(now):
            self._on_timer(self._connections[number])
        self._closing.close_all()
        self._acceptor.accept(now)
        for callback in called:
            callback()
        self._closing.close_all()
        if self._log.waiting and now >= self._flush_at:
            self._flush_at = now + FLUSH_INTERVAL
            self._log.flush()
            self._wall = time.time() - now

    # --- the life of a connection

    def _opened(self, listener: Listener, fd: int, host: str, port: int) -> None:
        route = listener.route
        if route is None:
            raise RuntimeError("a parked listener was accepted from")
        count = route.count
        count.accepted += 1
        count.live += 1
        self.live += 1
        self._waiting += 1
        local = (listener.host, listener.port) if listener.host else sysio.local_address(fd)
        number = self._next_number = self._next_number + 1
        connection = Connection(
            number, route, (host, port), local, fd, started=self.now, active=self.now
        )
        self._connections[number] = connection
        client = self._sides[fd] = Side(fd, -1, connection, count.up)
        # No other host can use our address as its own: this is a health probe or a tripwire of
        # this node, and no worker is to be troubled with it unless it speaks.
        if host != local[0]:
            self._begin_dial(connection, client)
        elif self._waiting > _MOST_WAITING:
            self._end(connection, "too-many-probes")
        if connection.phase is not Phase.CLOSED:
            client.watched = True
            self._epoll.register(fd, WATCH_BOTH if client.watches_output else WATCH_INPUT)

    def _begin_dial(self, connection: Connection, client: Side) -> None:
        service = connection.route.service
        if not service.regions:
            self._end(connection, "no-region")
            return
        connection.phase = Phase.DIALING
        self._waiting -= 1
        if service.proxy_protocol == "v2":
            header = proxyprotocol.encode(connection.client, connection.local)
            connection.header_size = len(header)
            client.held = header + client.held
        connection.dial = Dial(service, self._memory, self.now, self._limits)
        if self._take_first_bytes(connection, client):
            self._next_attempt(connection, client)

    def _next_attempt(self, connection: Connection, client: Side) -> None:
        """Try targets until one is under way; end the connection if there is none left."""
        dial = connection.dial
        assert dial is not None
        while (attempt := dial.next(self.now)) is not None:
            connection.attempts += 1
            connection.attempt = attempt
            failed = self._try(connection, client, attempt)
            if failed == 0:
                return
            if failed in NO_ROOM:  # another target would not help
                connection.errors.append(errno.errorcode[failed])
                break
            self._note_failure(connection, failed)
        connection.route.count.failed += 1
        connection.route.count.full += dial.full
        self._end(connection, "full" if dial.full else "no-target")

    def _try(self, connection: Connection, client: Side, attempt: Attempt) -> int:
        """Start an attempt; return an error number, 0 if it is under way or has succeeded."""
        try:
            fd = upstream.begin(connection.route.bind, attempt.target)
        except OSError as error:
            return error.errno or errno.EIO
        connection.worker_fd = client.peer_fd = fd
        worker = self._sides[fd] = Side(
            fd, client.fd, connection, connection.route.count.down, watches_output=True
        )
        # On a short way the connection stands already, and the bytes go without another round.
        failed = self._send_first_bytes(connection, client, worker)
        if failed:
            return failed
        if connection.phase is Phase.DIALING:
            self._timers.set(connection.number, self.now + attempt.timeout)
        worker.watched = True
        self._epoll.register(fd, WATCH_BOTH if worker.watches_output else WATCH_INPUT)
        return 0

    def _take_first_bytes(self, connection: Connection, client: Side) -> bool:
        """Read what the user has sent so far, once; False if the user is gone."""
        if len(client.held) > connection.header_size or client.eof or upstream.read_first(client):
            return True
        self._end(connection, "client-reset")
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
        dial, attempt = connection.dial, connection.attempt
        assert dial is not None
        assert attempt is not None
        dial.connected(self.now)
        connection.dial = None
        connection.phase = Phase.LIVE
        connection.connected = connection.active = self.now
        self.counters.connected(connection.route.count, attempt.key)
        client.moved = sent - connection.header_size
        client.meter.bytes += client.moved
        # Watching both ways has begun if the worker had to be waited for; else input is enough.
        worker.watches_output = worker.watched or bool(client.held)
        self._set_idle_timer(connection)
        if client.watched or client.eof:
            self._flow.pump(client)  # events that came while dialing were left alone

    def _on_early_event(self, side: Side, event: int) -> None:
        """An event of a connection that is not live yet."""
        connection = side.connection
        client = self._sides[connection.client_fd]
        if side is not client:
            self._on_answer(connection, client, side, event)
            return
        if event & END:
            client.ended = True
        if event & ERROR:
            quiet = connection.phase is Phase.WAITING
            self._end(connection, "local-probe" if quiet else "client-reset")
        elif connection.phase is Phase.WAITING:
            self._on_local_client(connection, client)

    def _on_local_client(self, connection: Connection, client: Side) -> None:
        try:
            client.held = sysio.read(client.fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            client.held = b""
        if client.held:
            self._begin_dial(connection, client)
        else:
            self._end(connection, "local-probe")

    def _on_answer(self, connection: Connection, client: Side, worker: Side, event: int) -> None:
        """The worker has accepted or refused."""
        if event & (ERROR | END) and (failed := sysio.take_error(worker.fd)):
            self._attempt_failed(connection, client, failed)
        elif event & OUTPUT:
            if not self._take_first_bytes(connection, client):
                return
            failed = self._send_first_bytes(connection, client, worker)
            if failed:
                self._attempt_failed(connection, client, failed)
                return
            if connection.phase is Phase.DIALING and not client.held:
                self._established(connection, client, worker, 0)
            if connection.phase is Phase.LIVE and event & ~OUTPUT:
                self._flow.on_event(worker, event & ~OUTPUT)

    def _attempt_failed(self, connection: Connection, client: Side, failed: int) -> None:
        self._note_failure(connection, failed)
        self._next_attempt(connection, client)

    def _note_failure(self, connection: Connection, failed: int) -> None:
        dial, attempt = connection.dial, connection.attempt
        assert dial is not None
        assert attempt is not None
        self._timers.cancel(connection.number)
        self._drop_worker(connection)
        name = errno.errorcode.get(failed, str(failed))
        connection.errors.append(f"{attempt.region}/{attempt.target.worker} {name}")
        self.counters.attempt_failed(connection.route.count, attempt.key)
        connection.attempt = None  # its place is given back
        dial.failed(kind(failed), self.now)

    def _drop_worker(self, connection: Connection) -> None:
        fd = connection.worker_fd
        if fd >= 0:
            del self._sides[fd]
            self._closing.add(fd, reset=False)
            connection.worker_fd = -1

    def _on_timer(self, connection: Connection) -> None:
        if connection.phase is Phase.DIALING:
            self._attempt_failed(connection, self._sides[connection.client_fd], errno.ETIMEDOUT)
        elif self.now - connection.active >= connection.route.service.idle_timeout:
            self._end(connection, "idle")
        else:
            self._set_idle_timer(connection)

    def _set_idle_timer(self, connection: Connection) -> None:
        idle = connection.route.service.idle_timeout
        self._timers.set(connection.number, connection.active + idle, idle * _IDLE_SLACK)

    def _end(self, connection: Connection, why: str) -> None:
        """Close both sides: in order if all has been passed on, else with RST.

        A FIN would tell the peer that it has everything.
        """
        if connection.phase is Phase.CLOSED:
            return
        reset = why not in ("closed", "local-probe")
        count = connection.route.count
        if connection.attempt is not None:
            self._leave(connection, connection.attempt, why)
        if connection.phase is Phase.WAITING:
            self._waiting -= 1
        connection.phase = Phase.CLOSED
        count.live -= 1
        self.live -= 1
        self._timers.cancel(connection.number)
        del self._connections[connection.number]
        client = self._sides.pop(connection.client_fd)
        self._closing.add(client.fd, reset)
        connection.bytes_up = client.moved
        if connection.worker_fd >= 0:
            worker = self._sides.pop(connection.worker_fd)
            self._closing.add(worker.fd, reset)
            connection.bytes_down = worker.moved
        if why == "local-probe":
            count.local_probes += 1
        else:
            self._log.add(describe(connection, why, self.now, self._wall))

    def _leave(self, connection: Connection, attempt: Attempt, why: str) -> None:
        """Give back the place at the worker, and tell how it was there."""
        pool, at, began = attempt.pool, attempt.at, connection.connected
        self._memory.give(pool, at)
        if began is None:
            return
        self.counters.closed(connection.route.count, attempt.key)
        client, worker = self._sides[connection.client_fd], self._sides[connection.worker_fd]
        well = upstream.verdict(client, worker, why, self.now - began)
        self._memory.ended(pool, at, began, well, self.now)

    # --- the small things

    def _room(self) -> int:
        return self._limit - self.live + self._waiting

    def _wait(self, until: float) -> float:
        """How long the loop may wait for events, in seconds."""
        if self._flow.unfinished:
            return 0.0
        due = until
        for other in (
            self._timers.next_due(),
            self._acceptor.next_due(),
            self._flush_at if self._log.waiting else None,
        ):
            if other is not None and other < due:
                due = other
        return max(0.0, due - time.monotonic())
