"""How long a live connection may go on. Pure; seconds of the monotonic clock.

All follows from times that the connection knows: a timer that was lost can be set anew.
"""

from __future__ import annotations

from edgenode.steering.connection import Connection
from edgenode.steering.timers import Timers
from edgenode.steering.why import Why

_slack = 1 / 16
"""A connection may be closed later by this share of its timeout."""


def watch(timers: Timers, connection: Connection) -> None:
    """Set the timer after which it is to be looked at next."""
    route = connection.route
    quiet = route.idle_timeout
    if connection.half_closed and route.half_closed_timeout:
        quiet = route.half_closed_timeout
    due, slack = connection.active + quiet, quiet * _slack
    lifetime = route.lifetime
    if lifetime and connection.started + lifetime < due:
        due, slack = connection.started + lifetime, lifetime * _slack
    if connection.reset is not None and connection.reset_at < due:
        due, slack = connection.reset_at, 0.0
    timers.set(connection, due, slack)


def over(connection: Connection, now: float) -> Why | None:
    """Why it is to be ended now; None: it goes on."""
    route = connection.route
    quiet = now - connection.active
    if connection.reset is not None and now >= connection.reset_at:
        return connection.reset
    if route.lifetime and now - connection.started >= route.lifetime:
        return Why.LIFETIME
    if connection.half_closed and quiet >= route.half_closed_timeout > 0.0:
        return Why.HALF_CLOSED
    return Why.IDLE if quiet >= route.idle_timeout else None
