"""Putting connections into a relay that does not run yet.

They are registered with epoll at once, and nothing is read or written until the relay runs: what
came for them meanwhile is then told as events, for each socket that has something at that moment
(epoll(7): adding a descriptor reports what is already there). Output is watched only where bytes
wait for it: else the first round would have an event for every socket.

Places at workers and of sources are taken anew, in figures of the new version's own: to give up
then undoes nothing of the old one's. What was learned of workers goes another way (`learned`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from edgenode.steering import sysio, timeouts
from edgenode.steering.admission import OUTSIDE
from edgenode.steering.connection import Connection, Phase, Route, Side
from edgenode.steering.dial import Attempt
from edgenode.steering.handover import preface
from edgenode.steering.handover.parts import Parts
from edgenode.steering.handover.record import KEPT, RecordError, Row, check
from edgenode.steering.sysio import WATCH_BOTH, WATCH_INPUT
from edgenode.steering.table import Bind, Service, Target, service_from_json
from edgenode.steering.why import Why


class Adoption:
    """What has come so far. The relay obeys the table already."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._rows: dict[int, Row] = {}  # with descriptors of this process
        self._gone: dict[str, Service] = {}
        self._routes: dict[str, Route] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self, rows: Sequence[Row], descriptors: Sequence[int], services: Mapping[str, Any]
    ) -> None:
        """Take connections, or what has changed of some; `services` are those that the table lacks.

        Raises RecordError, TableError and OSError.
        """
        for name, value in services.items():
            if name not in self._gone:
                self._gone[name] = service_from_json(value, "services")
        check(rows, len(descriptors))
        for row in rows:
            known = self._rows.get(row.number)
            if row.fd_up == KEPT:
                if known is None:
                    raise RecordError(f"connection {row.number} came without its sockets")
                row = row._replace(fd_up=known.fd_up, fd_down=known.fd_down)
                self._rows[row.number] = row
                self._update(row)
                continue
            if known is not None:
                raise RecordError(f"connection {row.number} came twice")
            up = descriptors[row.fd_up]
            down = descriptors[row.fd_down] if row.fd_down >= 0 else -1
            for fd, inode in ((up, row.inode_up), (down, row.inode_down)):
                if fd >= 0 and os.fstat(fd).st_ino != inode:
                    raise RecordError(f"connection {row.number} came with another's socket")
                if fd >= 0:
                    self._parts.loop.epoll.register(fd, WATCH_INPUT)
            row = row._replace(fd_up=up, fd_down=down)
            self._rows[row.number] = row
            self._put_in(row)

    def close(self, numbers: Sequence[int]) -> None:
        """These are over. Raises RecordError."""
        for number in numbers:
            row = self._rows.pop(number, None)
            if row is None:
                raise RecordError(f"connection {number} is over, and never came")
            self._take_out(row)
            for fd in (row.fd_up, row.fd_down):
                if fd >= 0:
                    sysio.close(fd)

    def begin(self) -> None:
        """All is ours: dial for those that nobody dials for. The relay runs from now on."""
        loop = self._parts.loop
        loop.now = time.monotonic()
        for row in self._rows.values():
            connection = loop.connections[row.number]
            if connection.phase is Phase.DIALING:
                # Anew: the attempt that was under way ends with the process that made it.
                self._parts.dialing.begin(connection, loop.sides[row.fd_up])
            elif connection.awaited is not None and connection.phase is Phase.PREFACE:
                loop.timers.set(connection, connection.awaited.due)
        self._rows.clear()

    # --- one connection

    def _put_in(self, row: Row) -> None:
        loop = self._parts.loop
        route = self._route(row.service)
        connection = Connection(
            row.number,
            route,
            (row.client_host, row.client_port),
            (row.local_host, row.local_port),
            row.fd_up,
            started=row.started,
            active=row.active,
        )
        connection.phase = Phase[row.phase]
        connection.attempts = row.attempts
        connection.errors = tuple(row.errors)
        if row.more:
            preface.take(connection, row.more)
        if row.guarded and route.guard is not None:
            connection.source = route.guard.adopt(row.client_host)
        client = Side(row.fd_up, row.fd_down, connection, route.count.up)
        client.held, client.ended, client.eof = row.held_up, row.ended_up, row.eof_up
        client.watched = True
        client.urgent = True  # it is not known: each is read until nothing is left
        loop.connections[row.number] = connection
        loop.sides[row.fd_up] = client
        loop.live += 1
        route.count.live += 1
        if connection.phase is Phase.WAITING:
            loop.waiting += 1
        elif connection.phase is Phase.LIVE:
            self._put_in_live(row, connection, client)

    def _put_in_live(self, row: Row, connection: Connection, client: Side) -> None:
        loop, counters, route = self._parts.loop, self._parts.counters, connection.route
        assert row.region is not None
        assert row.worker is not None
        connection.connected = row.connected
        connection.dialed = row.dialed
        connection.header_size = row.header_size
        connection.worker_fd = row.fd_down
        target = Target(row.worker, row.address, row.port)
        pool, at = self._parts.memory.adopt(row.service, row.region, target)
        connection.attempt = Attempt(row.region, target, 0.0, pool, at)
        worker = Side(row.fd_down, row.fd_up, connection, route.count.down)
        worker.watched = True
        loop.sides[row.fd_down] = worker
        region = counters.adopted(route.count, connection.attempt.key)
        client.meter, worker.meter = region.up, region.down
        timeouts.watch(loop.timers, connection)
        self._update(row)

    def _update(self, row: Row) -> None:
        """What may change of a connection that is live."""
        loop = self._parts.loop
        connection = loop.connections[row.number]
        client, worker = loop.sides[row.fd_up], loop.sides[row.fd_down]
        connection.active = row.active
        due = row.half_closed != connection.half_closed or row.reset is not None
        connection.half_closed = row.half_closed
        connection.reset = None if row.reset is None else Why(row.reset)
        connection.reset_at = row.reset_at
        client.moved, worker.moved = row.moved_up, row.moved_down
        client.held, worker.held = row.held_up, row.held_down
        client.ended, worker.ended = row.ended_up, row.ended_down
        client.eof, worker.eof = row.eof_up, row.eof_down
        client.failed, worker.failed = row.failed_up, row.failed_down
        client.end_passed, worker.end_passed = row.end_passed_up, row.end_passed_down
        client.broken, worker.broken = row.broken_up, row.broken_down
        client.urgent = worker.urgent = True  # likewise, see `_put_in`
        for side, peer in ((client, worker), (worker, client)):
            loop.stuck += len(side.held) - side.stuck
            side.stuck = len(side.held)
            if side.held and not peer.watches_output:
                peer.watches_output = True
                loop.epoll.modify(peer.fd, WATCH_BOTH)
        if due:  # else it is seen when the timer fires that bytes have moved since
            timeouts.watch(loop.timers, connection)

    def _take_out(self, row: Row) -> None:
        loop = self._parts.loop
        connection = loop.connections.pop(row.number)
        loop.live -= 1
        connection.route.count.live -= 1
        client = loop.sides.pop(row.fd_up)
        if connection.phase is Phase.WAITING:
            loop.waiting -= 1
        if connection.source != OUTSIDE and connection.route.guard is not None:
            connection.route.guard.leave(connection.source)
        attempt = connection.attempt
        if attempt is not None:
            loop.stuck -= client.stuck + loop.sides.pop(row.fd_down).stuck
            loop.timers.cancel(connection)
            self._parts.memory.give(attempt.pool, attempt.at)
            self._parts.counters.closed(connection.route.count, attempt.key)

    # --- what it belongs to

    def _route(self, name: str) -> Route:
        """The service as the table has it; or one that it names no more."""
        known = self._routes.get(name)
        if known is None:
            routes = self._parts.acceptor.routes()
            known = next((one for one in routes if one.service.name == name), None)
            if known is None:
                if name not in self._gone:
                    raise RecordError(f"the service {name} is unknown")
                known = Route(self._gone[name], self._parts.counters.service(name), Bind())
            self._routes[name] = known
        return known
