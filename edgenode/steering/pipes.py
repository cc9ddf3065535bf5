"""The pipes that bulk goes through: few, and lent for as long as something is in one.

Where no pipe is to be had, bytes are copied: that costs more, and works as well. A user without
CAP_SYS_RESOURCE has 64 MiB of them in all, for all relay workers, see pipe(7).
"""

from __future__ import annotations

import os

from edgenode.steering import sysio
from edgenode.steering.connection import Side

PIPE = 1024 * 1024
"""Bytes that a pipe holds: the most without CAP_SYS_RESOURCE.

What is moved at once costs half of what it costs in quarters: who waits for it is woken once.
"""

MOST = 16
"""Pipes of one relay worker: two descriptors each, see `descriptors`."""

_PAUSE = 1.0  # seconds until a pipe is asked for again when there was none


class Pipes:
    """`idle` are those that nobody has now, and are empty."""

    def __init__(self) -> None:
        self.idle: list[sysio.Pipe] = []
        self._open = 0
        self._retry_at = 0.0

    def lend(self, side: Side, now: float) -> sysio.Pipe | None:
        """Give the side a pipe; None if there is none to be had."""
        if self.idle:
            side.pipe = self.idle.pop()
        elif self._open < MOST and now >= self._retry_at:
            try:
                side.pipe = sysio.Pipe(PIPE)
                self._open += 1
            except OSError:  # out of descriptors, or of the user's share of memory for pipes
                self._retry_at = now + _PAUSE
        return side.pipe

    def give(self, side: Side) -> None:
        """Take back the side's pipe, which is empty."""
        if side.pipe is not None:
            self.idle.append(side.pipe)
            side.pipe = None

    def settle(self, side: Side) -> None:
        """Take out what is in the side's pipe, if it has one: it is held then, as it was read.

        So it can be handed over, and goes on here if it is not.
        """
        if side.pipe is not None:
            while side.piped:
                some = os.read(side.pipe.reader, side.piped)
                side.held += some
                side.piped -= len(some)
            self.give(side)

    def drop(self, side: Side) -> None:
        """The side, if it has a pipe, does not need what is in it."""
        if side.pipe is not None:
            side.pipe.close()
            side.pipe = None
            side.piped = 0
            self._open -= 1
