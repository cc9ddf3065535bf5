"""Moving bytes between the two sides of a live connection.

Epoll is edge-triggered: an event comes once, so each is acted upon until the kernel says "would
block", or is remembered. Memory is bounded: a side is read only if all that was read from it
before has been taken by the other.

Bytes go through a buffer that all sides use in turn; what the other side does not take at once is
held. Where there are many they go by large chunks, or through a pipe, which spares copying them,
see splice(2); a side has one only while there is something in it. Where many bytes wait for slow
readers, all are read by small chunks until they wait no more.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable

from edgenode.steering import sysio, timeouts
from edgenode.steering.connection import CHUNK, Connection, Side
from edgenode.steering.loop import Loop
from edgenode.steering.pipes import PIPE
from edgenode.steering.sysio import Transfer
from edgenode.steering.why import Why

BULK_CHUNK = sysio.BUFFER
BULK = 64 * 1024
"""Bytes of one read from which on a pipe is used."""

MOST_STUCK = 32 << 20
"""Bytes that may wait for slow readers before chunks are small."""

LINGER = 0.5
"""Seconds that bytes get to arrive before the reset that follows them."""

BUDGET = 256 * 1024
"""Bytes after which a side that has more gives the others their turn."""

ROUND = 512 * 1024
"""Bytes of bulk after which a round asks for news of the others."""

_SILENT = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH})
"""What the kernel says when the other end has not answered for too long, see tcp(7)."""

# The same as C numbers, where compiled.
_chunk, _bulk_chunk, _bulk, _budget, _pipe = CHUNK, BULK_CHUNK, BULK, BUDGET, PIPE
_round = ROUND
_never = float("inf")


class Flow:
    """Moves bytes; `end(connection, why)` is called when a connection is over.

    `why` is CLOSED if both sides have ended and all has been passed on.
    """

    def __init__(
        self,
        loop: Loop,
        end: Callable[[Connection, Why], None],
        transfer: Transfer | None = None,
    ) -> None:
        self.unfinished: deque[Side] = deque()
        """Bulk, and sides whose budget ran out: they wait for their turn, and for no event."""
        self.most_stuck = MOST_STUCK
        self._loop = loop
        self._sides = loop.sides
        self._pipes = loop.pipes
        self._end = end
        self._transfer = transfer or Transfer()

    def on_event(self, side: Side, event: int) -> None:
        """Act on an epoll event of a live connection's side."""
        if event & sysio.END:
            side.ended = True
        if event & sysio.ERROR:
            side.failed = True
        if event & sysio.URGENT:
            side.urgent = True
        if event & sysio.OUTPUT:
            peer = self._sides.get(side.peer_fd)
            if peer is not None and (peer.held or peer.pipe is not None):
                self._go_on(peer)
                if self._sides.get(side.fd) is not side:
                    return
        if event & sysio.READABLE:
            if side.eof:
                if event & sysio.ERROR:
                    self._reset_after_its_end(side)
            elif not side.held and side.pipe is None:
                self._go_on(side)  # else it goes on by itself, see `pump`

    def resume(self) -> None:
        """Give sides that wait for it their turn, in order, until ROUND bytes have been moved."""
        left = _round
        for _ in range(len(self.unfinished)):
            side = self.unfinished.popleft()
            side.queued = False
            if self._sides.get(side.fd) is side:
                left += side.moved
                self.pump(side)
                left -= side.moved
                if left <= 0:
                    return

    def _go_on(self, side: Side) -> None:
        """Now, or, if it moves much at once, when all have been served that do not."""
        if side.bulk:
            self._queue(side)
        elif not side.queued:
            self.pump(side)

    def _queue(self, side: Side) -> None:
        if not side.queued:
            side.queued = True
            self.unfinished.append(side)

    def pump(self, side: Side) -> None:
        """Move bytes from the side to its peer until one of them would block.

        It goes on when the peer can take more (bytes are held, or in a pipe), or when it has its
        turn (queued).
        """
        peer = self._sides.get(side.peer_fd)
        if peer is None or peer.broken or side.end_passed:
            return
        loop = self._loop
        if side.stuck:
            loop.stuck -= side.stuck
            side.stuck = 0
        left = _budget
        while True:
            if side.held or side.pipe is not None:
                moved = self._write_waiting(side, peer)
                if moved < 0:
                    return
                left -= moved
            if side.eof:
                self._pass_end(side, peer)
                return
            if left <= 0:
                self._queue(side)
                return
            relaxed = loop.stuck < self.most_stuck
            # The kernel moves nothing past urgent data into a pipe.
            piped = side.bulk and relaxed and not side.urgent
            pipe = self._pipes.lend(side, loop.now) if piped else None
            wanted = side.chunk if relaxed else _chunk
            if pipe is not None:
                size = self._transfer.fill(pipe, side.fd, _pipe)
                if size > 0:
                    side.piped = size
                    side.bulk = size >= _chunk
                    continue
                self._pipes.give(side)
                if size == 0:
                    # So it is where urgent data stands before the end, too: a read tells.
                    side.urgent = True
                    continue
            else:
                size = self._transfer.read(side.fd, wanted)
            if size <= 0:
                if size == 0:
                    side.eof = True
                    continue
                if size != sysio.WOULD_BLOCK or side.broken:
                    self._end(side.connection, side.connection.reset or _lost(side, size))
                side.urgent = False
                return
            moved = self._transfer.write(peer.fd, size, side.ended and not side.failed)
            if moved < size:
                if moved < 0:
                    if moved != sysio.WOULD_BLOCK:
                        self._write_failed(side, peer, moved)
                        return
                    moved = 0
                else:
                    self._count(side, moved)
                side.held = self._transfer.rest(moved, size)
                self._wait_for(peer, side)
                return
            self._count(side, moved)
            left -= moved
            if size >= _bulk:
                side.bulk = True
            if size == wanted:
                side.chunk = _bulk_chunk
            else:
                side.chunk = _chunk
                if size < _chunk:
                    side.bulk = False
                # It was not filled: it took all there was, and what comes later is a new event.
                if not side.broken and not side.urgent:
                    if not side.ended:
                        return
                    # Nothing comes after the end, and that has been told: it need not be read.
                    side.eof = not side.failed

    def _wait_for(self, peer: Side, side: Side) -> None:
        """What the side holds waits until its peer can take it."""
        side.stuck = len(side.held) + side.piped
        self._loop.stuck += side.stuck
        self.watch_output(peer)

    def watch_output(self, side: Side) -> None:
        """From now on have events when the side can take bytes again (never undone)."""
        if not side.watches_output:
            side.watches_output = True
            if side.watched:
                self._loop.epoll.modify(side.fd, sysio.WATCH_BOTH)

    def _write_waiting(self, side: Side, peer: Side) -> int:
        """Write what was read earlier; return how much it was, below 0 if some is left."""
        # A FIN is known to follow: it leaves in one segment with the last bytes. If a reset
        # follows, bytes that wait for more would be lost.
        more = side.ended and not side.failed
        total = 0
        while side.pipe is not None or side.held:
            if side.pipe is not None:
                moved = self._transfer.drain(side.pipe, peer.fd, side.piped, more)
            else:
                moved = self._transfer.write_held(peer.fd, side.held, more)
            if moved < 0:
                if moved == sysio.WOULD_BLOCK:
                    self._wait_for(peer, side)
                else:
                    self._write_failed(side, peer, moved)
                return -1
            if side.moved < 0:  # the rest of our header: no bytes of the user
                side.meter.bytes -= min(moved, -side.moved)
            self._count(side, moved)
            total += moved
            if side.pipe is None:
                side.held = side.held[moved:]
                if side.held:
                    self._wait_for(peer, side)
                    return -1
            else:
                side.piped -= moved
                if side.piped == 0:
                    self._pipes.give(side)
        return total

    def _count(self, side: Side, moved: int) -> None:
        side.moved += moved
        side.meter.bytes += moved
        side.connection.active = self._loop.now

    def _pass_end(self, side: Side, peer: Side) -> None:
        if side.broken:  # it ended by a reset that the failed write has already reported
            self._end(side.connection, side.connection.reset or _reset_by(side))
            return
        if peer.end_passed:
            self._end(side.connection, side.connection.reset or Why.CLOSED)
            return
        failed = self._transfer.end_writing(peer.fd)
        if failed < 0:
            self._write_failed(side, peer, failed)
            return
        side.end_passed = True
        if side.failed:  # both came before either was looked at
            self._reset_after_its_end(side)
        else:
            self._half_closed(side.connection)

    def _reset_after_its_end(self, side: Side) -> None:
        """It can take nothing more. Its peer is told so, but not before it has what came before."""
        connection, peer = side.connection, self._sides[side.peer_fd]
        if self._transfer.unsent(peer.fd) and connection.reset is None:
            connection.reset = _reset_by(side)
            connection.reset_at = self._loop.now + LINGER
            timeouts.watch(self._loop.timers, connection)
        else:
            self._end(connection, _reset_by(side))

    def _half_closed(self, connection: Connection) -> None:
        """One side has ended: from now on nothing need move for this long until it is over."""
        connection.half_closed = True
        if connection.route.half_closed_timeout:
            connection.active = self._loop.now  # an end is as good as a byte
            timeouts.watch(self._loop.timers, connection)

    def _write_failed(self, side: Side, peer: Side, error: int) -> None:
        """The peer takes no more bytes; what it sent before that still goes to the side."""
        side.held = b""
        self._pipes.drop(side)
        peer.broken = True
        connection = side.connection
        if -error in _SILENT and connection.reset is None:  # told once: a read would not know
            connection.reset, connection.reset_at = _lost(peer, error), _never
        if side.broken or peer.end_passed:
            self._end(connection, connection.reset or _reset_by(peer))
        elif not peer.held and peer.pipe is None:
            self.pump(peer)


def _lost(side: Side, error: int) -> Why:
    """Why a side cannot be read any more; `error` as `Transfer` returns it."""
    if -error not in _SILENT:
        return _reset_by(side)
    client = side.fd == side.connection.client_fd
    return Why.CLIENT_SILENT if client else Why.WORKER_SILENT


def _reset_by(side: Side) -> Why:
    client = side.fd == side.connection.client_fd
    return Why.CLIENT_RESET if client else Why.WORKER_RESET
