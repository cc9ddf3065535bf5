"""What the parts of the relay share: descriptors, connections, timers, and the round's time."""

from __future__ import annotations

import select
import time

from edgenode.steering.closing import Closing
from edgenode.steering.connection import Connection, Side
from edgenode.steering.timers import Timers

SideTable = dict[int, Side]


class Loop:
    """Plain state, by descriptor and by number; each part of the relay says what it does with it.

    `now`: when the events of this round were read, in seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self.now = time.monotonic()
        self.epoll = select.epoll()
        self.sides: SideTable = {}
        self.connections: dict[int, Connection] = {}
        self.timers = Timers()
        self.closing = Closing()
        self.live = 0
        """Connections that there are."""
        self.waiting = 0
        """Those of them from this node itself that have not sent a byte yet."""
