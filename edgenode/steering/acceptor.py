"""Taking connections from the listeners, in bursts, and pausing when there is no room."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, Mapping

from edgenode.steering import shortage, sysio
from edgenode.steering.connection import Route
from edgenode.steering.counters import Counters
from edgenode.steering.door import Door
from edgenode.steering.faults import NO_ROOM
from edgenode.steering.proxyprotocol import Endpoint
from edgenode.steering.shortage import Shortage

BURST = 64  # connections from one listener before others get their turn
PAUSE = 0.1  # seconds until accept(2) is tried again when descriptors or memory ran out

_never = float("inf")
_LAST_BURSTS = 64  # before a listener is closed: a full queue of 4096


class Listener:
    """`local` is None for a wildcard address: then each connection is asked for its own."""

    __slots__ = ("door", "local", "route", "socket")

    def __init__(self, socket: socket.socket, local: Endpoint | None) -> None:
        self.socket = socket
        self.local = local
        self.route: Route | None = None  # None: parked until a table names its address
        self.door: Door | None = None  # None: a worker is dialed at once


Opened = Callable[[Listener, int, Endpoint], None]


class Acceptor:
    """Calls `opened(listener, fd, peer)` for each new connection.

    Listeners are level-triggered: what a burst leaves is reported again. While there is no room
    they are not watched, and their queues fill: a health check then sees it, as it should.
    """

    def __init__(
        self, epoll: sysio.Epoll, counters: Counters, room: Callable[[], int], opened: Opened
    ) -> None:
        self.listeners: dict[str, Listener] = {}
        self._ready: dict[int, Listener] = {}
        self._by_fd: dict[int, Listener] = {}
        self._epoll = epoll
        self._counters = counters
        self._room = room
        self._opened = opened
        self._paused = False
        self._resume_at = 0.0  # where paused
        self._unwatched: list[Listener] = []  # the kernel had no memory for these, see epoll_ctl(2)
        self._watch_at = 0.0  # when they are tried again

    def add(self, listen: str, listener: socket.socket) -> None:
        """Take over a listening socket; nothing is accepted until it has a route."""
        host, port = listener.getsockname()[:2]
        listener.setblocking(False)
        # Inherited: an urgent byte keeps its place among the others, see tcp(7). It is said here,
        # since an older version may have opened the listener.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        wildcard = host in ("0.0.0.0", "::")
        self.listeners[listen] = Listener(listener, None if wildcard else (host, port))

    def route(self, routes: Mapping[str, Route], doors: Mapping[str, Door], now: float) -> None:
        """Give each listener its new route, and its door; close those that have none any more."""
        for listen, listener in list(self.listeners.items()):
            route = routes.get(listen)
            if route is None:
                self._remove(listen, listener)
                continue
            parked = listener.route is None
            listener.route = route
            listener.door = doors.get(listen)
            _defer(listener)
            if parked:
                self._unwatched.append(listener)
        self._begin_to_watch(now)

    def routes(self) -> Iterator[Route]:
        """All routes of all listeners."""
        for listener in self.listeners.values():
            if listener.route is not None:
                yield listener.route
            if listener.door is not None and listener.door.routes is not None:
                yield from listener.door.routes.places

    def close(self) -> None:
        """Take what is in the queues, then accept no more."""
        self.route({}, {}, 0.0)

    def on_event(self, fd: int) -> bool:
        """Note that a listener has connections; False if the descriptor is none of ours."""
        listener = self._by_fd.get(fd)
        if listener is None:
            return False
        self._ready[fd] = listener
        return True

    def accept(self, now: float) -> None:
        """Take connections from the listeners that have some. To be called last in a round."""
        if self._unwatched and now >= self._watch_at:
            self._begin_to_watch(now)
        if self._paused and now >= self._resume_at and self._room() > 0:
            self._paused = False
            self._watch(sysio.INPUT)
        if not self._ready:
            return
        ready, self._ready = self._ready, {}
        for listener in ready.values():
            if self._paused:
                return
            self._burst(listener, now)

    def next_due(self) -> float:
        """When `accept` is to be called although no event came; infinity: not at all."""
        due = self._resume_at if self._paused and self._room() > 0 else _never
        return min(due, self._watch_at) if self._unwatched else due

    def _burst(self, listener: Listener, now: float) -> bool:
        """Take a burst; True if the queue may hold more."""
        for _ in range(BURST):
            if self._room() <= 0:
                self._counters.lacked(Shortage.CONNECTIONS)
                self._pause(now)
                return False
            try:
                found = sysio.accept(listener.socket)
            except OSError as error:
                # Other errors are those of one connection that broke in the queue, see accept(2).
                if error.errno in NO_ROOM:
                    self._counters.accept_errors += 1
                    self._counters.lacked(shortage.named(errno.errorcode[error.errno]))
                    self._pause(now + PAUSE)
                    return False
                continue
            if found is None:
                return False
            self._opened(listener, found[0], found[1])
        return True

    def _pause(self, until: float) -> None:
        self._paused, self._resume_at = True, until
        self._watch(0)

    def _watch(self, events: int) -> None:
        for fd in self._by_fd:
            self._epoll.modify(fd, events)

    def _begin_to_watch(self, now: float) -> None:
        """Those that are new; users wait in the queues of those for which there is no memory."""
        events = 0 if self._paused else sysio.INPUT
        while self._unwatched:
            listener = self._unwatched[-1]
            try:
                self._epoll.register(listener.socket.fileno(), events)
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                self._counters.lacked(shortage.named(errno.errorcode[error.errno]))
                self._watch_at = now + PAUSE
                return
            self._by_fd[listener.socket.fileno()] = self._unwatched.pop()

    def _remove(self, listen: str, listener: Listener) -> None:
        del self.listeners[listen]
        fd = listener.socket.fileno()
        if listener.route is not None:
            # Closing resets what is in the queue; those users came while the service was there.
            for _ in range(_LAST_BURSTS):
                if self._paused or not self._burst(listener, 0.0):
                    break
            self._ready.pop(fd, None)
            if listener in self._unwatched:
                self._unwatched.remove(listener)
            else:
                # The supervisor may still hold the socket: closing would not end the events.
                del self._by_fd[fd]
                self._epoll.unregister(fd)
        listener.socket.close()


def _defer(listener: Listener) -> None:
    """Have the kernel hand connections over with their first bytes where users speak first.

    One that says nothing is handed over after a second (tcp(7), TCP_DEFER_ACCEPT), as a health
    check's may be. The listener may have been another process's before: it is told each time.
    """
    route = listener.route
    assert route is not None
    service, door = route.service, listener.door
    # Where only proxies have to say something first, their users' servers may speak first.
    awaited = (
        (door is not None and door.routes is not None) or service.client_first or service.warm > 0
    )
    listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(awaited))
