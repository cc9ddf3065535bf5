"""The old relay worker's part: its connections on their way to the new one, while it serves on."""

from __future__ import annotations

import os
import time

from edgenode.steering.handover import learned
from edgenode.steering.handover.channel import Channel, Message, claim, claimed, seal
from edgenode.steering.handover.export import Export, Piece
from edgenode.steering.handover.parts import Parts

PATIENCE = 0.5
"""Seconds that users wait at most, from the freeze until it is known who serves them."""

ROUND = 0.002
"""Seconds between two rounds of the relay while it has something to send."""

_MARGIN = 0.3  # seconds beyond, until a relay worker that has lost its supervisor claims the token
_NUMBERS = 4000  # of connections in a message


class Leaving:
    """Copies while the relay runs, by `step`; and the rest, by `freeze`."""

    def __init__(self, parts: Parts, other: Channel) -> None:
        self.behind = True
        """Whether there is something to send; if so, `step` is to be called each ROUND."""
        self._parts = parts
        self._other = other
        self._export = Export(parts)

    def close(self) -> None:
        self._other.close()

    def step(self) -> None:
        """Send what there is and what the other takes at once. Raises OSError."""
        if not self._other.writable():
            return
        if gone := self._export.closed(_NUMBERS):
            self._other.send({"type": "closed", "numbers": gone})
        elif self.behind:
            piece = self._export.copy()
            if piece is not None:
                self._send(piece, 0.0)
            else:
                self.behind = False
                # Before the freeze: nobody waits for it.
                told = learned.tell(self._parts.memory)
                self._other.send({"type": "so-far", "learned": told})

    def freeze(self, deadline: float) -> None:
        """Send what has changed since, and the end. The relay does nothing meanwhile.

        Raises OSError, TimeoutError after `deadline` (of the monotonic clock).
        """
        while gone := self._export.closed(_NUMBERS):
            self._other.send({"type": "closed", "numbers": gone}, (), deadline)
        for piece in self._export.changes():
            self._send(piece, deadline)
        loop, entrance = self._parts.loop, self._parts.entrance
        end: Message = {"connections": len(loop.connections), "number": entrance.last_number}
        self._other.send({"type": "all", **end}, (), deadline)

    def _send(self, piece: Piece, deadline: float) -> None:
        record, descriptors = piece
        memory = seal(record)
        try:
            self._other.send({"type": "rows"}, (memory, *descriptors), deadline)
        finally:
            os.close(memory)


def left_alone(token: int, deadline: float) -> bool:
    """A relay worker that is frozen has lost its supervisor: whether its connections are its own.

    The new version may still take them, until `deadline`. If it has not, each relay worker in its
    turn claims the token to reset its connections, and then gives it back (`give_back`).
    """
    while time.monotonic() < deadline + _MARGIN:
        if claimed(token):
            return False
        time.sleep(0.01)
    while time.monotonic() < deadline + 2 * _MARGIN:
        if claim(token):
            return True
        time.sleep(0.01)
    return False
