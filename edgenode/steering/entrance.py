"""What happens to a connection between its being accepted and its being dialed for."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

from edgenode.steering import sysio
from edgenode.steering.acceptor import Listener
from edgenode.steering.admission import OUTSIDE
from edgenode.steering.connection import CHUNK, Awaited, Connection, Phase, Side
from edgenode.steering.door import Door
from edgenode.steering.loop import Loop
from edgenode.steering.preface import Preface
from edgenode.steering.proxyprotocol import Endpoint
from edgenode.steering.sysio import END, ERROR, URGENT, WATCH_BOTH, WATCH_INPUT
from edgenode.steering.why import Why

# A member of an enumeration is found by a method of Python 3.11's, each time.
_CLOSED, _DIALING, _PREFACE = Phase.CLOSED, Phase.DIALING, Phase.PREFACE
_WAITING = Phase.WAITING
_CLIENT_RESET, _LOCAL_PROBE, _NO_ROOM = Why.CLIENT_RESET, Why.LOCAL_PROBE, Why.NO_ROOM
_TOO_MANY_PROBES = Why.TOO_MANY_PROBES

_MOST_WAITING = 64  # local probes that may hold a connection without a word


class Entrance:
    """`limit` is the number of connections at a time.

    Local probes that wait for their first bytes do not count: health checks hold them for as long
    as they like. A few dozen have places of their own, more are reset.

    `dial(connection, client)` goes on with those that are admitted, `end(connection, why)` ends
    the others.
    """

    def __init__(
        self,
        loop: Loop,
        limit: int,
        dial: Callable[[Connection, Side], None],
        end: Callable[[Connection, Why], None],
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._dial = dial
        self._end = end
        self.last_number = 0
        """Of the connection that came last."""
        self._preface = Preface(loop, self._has_place, self._admit, self._wait, end)

    def apply(self, doors: Mapping[str, Door]) -> None:
        """Use these doors from now on, by listen address."""
        self._preface.doors = doors

    def room(self) -> int:
        """How many more connections may be accepted."""
        return self._limit - self._loop.live + self._loop.waiting

    def opened(self, listener: Listener, fd: int, peer: Endpoint) -> None:
        """A connection was accepted."""
        route, loop = listener.route, self._loop
        if route is None:
            raise RuntimeError("a parked listener was accepted from")
        count, door = route.count, listener.door
        count.live += 1
        loop.live += 1
        loop.waiting += 1
        local = listener.local or sysio.local_address(fd)
        number = self.last_number = self.last_number + 1
        connection = Connection(number, route, peer, local, fd, loop.now, loop.now)
        if door is None:
            count.accepted += 1
        else:
            connection.awaited = Awaited(door.listen)
        loop.connections[number] = connection
        client = loop.sides[fd] = Side(fd, -1, connection, count.up)
        # No other host can use our address as its own: this is a health probe or a tripwire of
        # this node, and no worker is to be troubled with it unless it speaks.
        if peer[0] != local[0]:
            if door is not None or route.guard is None or self._has_place(connection):
                self._begin(connection, client, door)
        elif loop.waiting > _MOST_WAITING:
            self._end(connection, _TOO_MANY_PROBES)
        if connection.phase is not _CLOSED:
            client.watched = True
            try:
                loop.epoll.register(fd, WATCH_BOTH if client.watches_output else WATCH_INPUT)
            except OSError as error:  # the kernel has no memory left for it, see epoll_ctl(2)
                connection.errors += (errno.errorcode[error.errno or errno.EIO],)
                self._end(connection, _NO_ROOM)

    def on_event(self, client: Side, event: int) -> None:
        """An event of a user's side before the connection is live."""
        connection = client.connection
        phase = connection.phase
        waiting = phase is _WAITING
        if event & END:
            client.ended = True
        if event & URGENT:
            client.urgent = True
        if event & ERROR:
            self._end(connection, _LOCAL_PROBE if waiting else _CLIENT_RESET)
        elif waiting:
            self._first_bytes(connection, client)
        elif phase is _PREFACE:
            self._preface.go_on(connection, client)
            if connection.phase is _WAITING:  # its end may have come by the same event
                self._first_bytes(connection, client)

    def timed_out(self, connection: Connection) -> None:
        """The timer of one of which something is awaited has expired."""
        self._preface.timed_out(connection)

    def _first_bytes(self, connection: Connection, client: Side) -> None:
        try:
            client.held = sysio.read(client.fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            client.held = b""
        if client.held:
            awaited = connection.awaited
            door = None if awaited is None else self._preface.doors.get(awaited.listen)
            self._begin(connection, client, door)
        else:
            self._end(connection, _LOCAL_PROBE)

    def _has_place(self, connection: Connection) -> bool:
        """Ask its service for one, once; the connection is ended if it gets none."""
        guard, host = connection.route.guard, connection.client[0]
        if guard is None or connection.source != OUTSIDE or host == connection.local[0]:
            return True
        found = guard.admit(host, self._loop.now)
        if isinstance(found, Why):
            self._end(connection, found)
            return False
        connection.source = found
        return True

    def _begin(self, connection: Connection, client: Side, door: Door | None) -> None:
        """From here on it is a user's, and counts."""
        self._loop.waiting -= 1
        if door is not None:
            self._preface.begin(connection, client, door)
            return
        if connection.awaited is not None:  # a newer table awaits nothing there
            connection.awaited = None
            connection.route.count.accepted += 1
        self._admit(connection, client)

    def _wait(self, connection: Connection) -> None:
        """It speaks for a proxy in front: a health probe, as those of this node."""
        self._loop.timers.cancel(connection)
        self._loop.waiting += 1
        connection.phase = _WAITING
        if self._loop.waiting > _MOST_WAITING:
            self._end(connection, _TOO_MANY_PROBES)

    def _admit(self, connection: Connection, client: Side) -> None:
        connection.phase = _DIALING
        self._dial(connection, client)
