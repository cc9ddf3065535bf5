"""How long a live connection may go on. Pure; seconds of the monotonic clock."""

from __future__ import annotations

from edgenode.steering.connection import Connection
from edgenode.steering.timers import Timers
from edgenode.steering.why import Why

_SLACK = 1 / 16
"""An idle connection may be closed later by this share of the timeout."""


def watch(timers: Timers, connection: Connection) -> None:
    """Set the timer after which it is to be looked at next."""
    idle = connection.route.service.idle_timeout
    timers.set(connection.number, connection.active + idle, idle * _SLACK)


def over(connection: Connection, now: float) -> Why | None:
    """Why it is to be ended now; None: it goes on."""
    idle = connection.route.service.idle_timeout
    return Why.IDLE if now - connection.active >= idle else None
