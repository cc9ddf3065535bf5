"""What the parts of the relay share: descriptors, connections, timers, and the round's time."""

from __future__ import annotations

from edgenode.steering.closing import Closing
from edgenode.steering.connection import Connection, Side
from edgenode.steering.pipes import Pipes
from edgenode.steering.sysio import Epoll, monotonic
from edgenode.steering.timers import Timers


class Sides:
    """The sides that there are, each found by its descriptor."""

    __slots__ = ("_count", "_of")

    def __init__(self) -> None:
        self._of: list[Side | None] = []
        self._count = 0

    def get(self, fd: int) -> Side | None:
        """The side of the descriptor, None if it is of none."""
        return self._of[fd] if 0 <= fd < len(self._of) else None

    def pop(self, fd: int) -> Side:
        """Forget the descriptor's side. Raises KeyError if there is none."""
        side = self.get(fd)
        if side is None:
            raise KeyError(fd)
        self._of[fd] = None
        self._count -= 1
        return side

    def values(self) -> list[Side]:
        return [side for side in self._of if side is not None]

    def __getitem__(self, fd: int) -> Side:
        side = self.get(fd)
        if side is None:
            raise KeyError(fd)
        return side

    def __setitem__(self, fd: int, side: Side) -> None:
        if fd >= len(self._of):
            self._of.extend([None] * (fd + 1 - len(self._of)))
        self._count += self._of[fd] is None
        self._of[fd] = side

    def __delitem__(self, fd: int) -> None:
        self.pop(fd)

    def __len__(self) -> int:
        return self._count


class Loop:
    """Plain state, by descriptor and by number; each part of the relay says what it does with it.

    `now`: when the events of this round were read, in seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self.now = monotonic()
        self.epoll = Epoll()
        self.sides = Sides()
        self.connections: dict[int, Connection] = {}
        self.timers = Timers()
        self.closing = Closing()
        self.pipes = Pipes()
        self.live = 0
        """Connections that there are."""
        self.stuck = 0
        """Bytes that live sides hold since their peers take no more."""
        self.waiting = 0
        """Those of them from this node itself that have not sent a byte yet."""
