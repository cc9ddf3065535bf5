"""Moving bytes between the two sides of a live connection.

Epoll is edge-triggered: an event comes once, so each is acted upon until the kernel says "would
block", or is remembered. Memory is bounded: a side is read only if all that was read from it
before has been taken by the other. A bulky one is read by large chunks; where many of those wait
for slow readers, all are read by small ones until they wait no more.
"""

from __future__ import annotations

import select
from collections.abc import Callable

from edgenode.steering import sysio, timeouts
from edgenode.steering.connection import CHUNK, Connection, Side
from edgenode.steering.loop import Loop
from edgenode.steering.why import Why

INPUT = select.EPOLLIN
OUTPUT = select.EPOLLOUT
ERROR = select.EPOLLERR
END = select.EPOLLRDHUP | select.EPOLLHUP
READABLE = INPUT | END | ERROR
WATCH_INPUT = INPUT | select.EPOLLRDHUP | select.EPOLLET
WATCH_BOTH = WATCH_INPUT | OUTPUT

BULK_CHUNK = 128 * 1024
MOST_STUCK = 32 << 20  # bytes that may wait for slow readers before chunks are small
LINGER = 0.5  # seconds that bytes get to arrive before the reset that follows them
BUDGET = 256 * 1024  # bytes a side may move before the others get their turn


class Flow:
    """Moves bytes; `end(connection, why)` is called when a connection is over.

    `why` is CLOSED if both sides have ended and all has been passed on.
    """

    def __init__(self, loop: Loop, end: Callable[[Connection, Why], None]) -> None:
        self.unfinished: list[Side] = []  # sides whose budget ran out; no event will come for them
        self.most_stuck = MOST_STUCK
        self._loop = loop
        self._sides = loop.sides
        self._end = end

    def on_event(self, side: Side, event: int) -> None:
        """Act on an epoll event of a live connection's side."""
        if event & END:
            side.ended = True
        if event & ERROR:
            side.failed = True
        if event & OUTPUT:
            peer = self._sides[side.peer_fd]
            if peer.held:
                self.pump(peer)
                if self._sides.get(side.fd) is not side:
                    return
        if event & READABLE:
            if side.eof:
                if event & ERROR:
                    self._reset_after_its_end(side)
            elif not side.held and not side.queued:  # else `pump` goes on by itself, see there
                self.pump(side)

    def resume(self) -> None:
        """Give another turn to the sides whose budget ran out."""
        sides, self.unfinished = self.unfinished, []
        for side in sides:
            side.queued = False
            if self._sides.get(side.fd) is side and not side.held:
                self.pump(side)

    def pump(self, side: Side) -> None:
        """Move bytes from the side to its peer until one of them would block.

        It goes on when the peer can take more (bytes are held), or in the next round (queued).
        """
        peer = self._sides[side.peer_fd]
        if peer.broken or side.end_passed:
            return
        loop = self._loop
        if side.stuck:
            loop.stuck -= side.stuck
            side.stuck = 0
        moved = 0
        fresh = 0  # bytes of the last read, 0 if what is held is older
        wanted = CHUNK
        while True:
            # Reading and writing must not share a `try`: bytes would be sent twice.
            if side.held:
                try:
                    # A FIN is known to follow: it leaves in one segment with the last bytes. If a
                    # reset follows, bytes that wait for more would be lost.
                    more = side.ended and not side.failed
                    write = sysio.write_more if more else sysio.write
                    size = write(peer.fd, side.held)
                except BlockingIOError:
                    self._wait_for(peer, side)
                    return
                except OSError:
                    self._write_failed(side, peer)
                    return
                side.moved += size
                side.meter.bytes += size
                side.connection.active = loop.now
                moved += size
                if size < len(side.held):
                    side.held = side.held[size:]
                    self._wait_for(peer, side)
                    return
                side.held = b""
                # A read that was not filled took all there was; what comes later is a new event.
                if 0 < fresh < wanted and not side.ended and not side.broken:
                    side.chunk = CHUNK
                    return
                if fresh == wanted:
                    side.chunk = BULK_CHUNK
            if side.eof:
                self._pass_end(side, peer)
                return
            if moved >= BUDGET:
                if not side.queued:
                    side.queued = True
                    self.unfinished.append(side)
                return
            try:
                wanted = side.chunk if loop.stuck < self.most_stuck else CHUNK
                side.held = sysio.read(side.fd, wanted)
            except BlockingIOError:
                if side.broken:
                    self._end(side.connection, _reset_by(side))
                return
            except OSError:
                self._end(side.connection, _reset_by(side))
                return
            fresh = len(side.held)
            side.eof = fresh == 0

    def _wait_for(self, peer: Side, side: Side) -> None:
        """What the side holds waits until its peer can take it."""
        side.stuck = len(side.held)
        self._loop.stuck += side.stuck
        self.watch_output(peer)

    def watch_output(self, side: Side) -> None:
        """From now on have events when the side can take bytes again (never undone)."""
        if not side.watches_output:
            side.watches_output = True
            if side.watched:
                self._loop.epoll.modify(side.fd, WATCH_BOTH)

    def _pass_end(self, side: Side, peer: Side) -> None:
        if side.broken:  # it ended by a reset that the failed write has already reported
            self._end(side.connection, _reset_by(side))
            return
        if peer.end_passed:
            self._end(side.connection, side.connection.reset or Why.CLOSED)
            return
        try:
            sysio.end_writing(peer.fd)
        except OSError:
            self._write_failed(side, peer)
            return
        side.end_passed = True
        if side.failed:  # both came before either was looked at
            self._reset_after_its_end(side)
        else:
            self._half_closed(side.connection)

    def _reset_after_its_end(self, side: Side) -> None:
        """It can take nothing more. Its peer is told so, but not before it has what came before."""
        connection, peer = side.connection, self._sides[side.peer_fd]
        if sysio.unsent(peer.fd) and connection.reset is None:
            connection.reset = _reset_by(side)
            connection.reset_at = self._loop.now + LINGER
            timeouts.watch(self._loop.timers, connection)
        else:
            self._end(connection, _reset_by(side))

    def _half_closed(self, connection: Connection) -> None:
        """One side has ended: from now on nothing need move for this long until it is over."""
        connection.half_closed = True
        if connection.route.service.protection.half_closed_timeout:
            connection.active = self._loop.now  # an end is as good as a byte
            timeouts.watch(self._loop.timers, connection)

    def _write_failed(self, side: Side, peer: Side) -> None:
        """The peer takes no more bytes; what it sent before that still goes to the side."""
        side.held = b""
        peer.broken = True
        if side.broken or peer.end_passed:
            self._end(side.connection, _reset_by(peer))
        elif not peer.held:
            self.pump(peer)


def _reset_by(side: Side) -> Why:
    client = side.fd == side.connection.client_fd
    return Why.CLIENT_RESET if client else Why.WORKER_RESET
