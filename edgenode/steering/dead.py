"""Closing the connections of targets that have died, where their service asks for it.

Not all at once: whoever is cut off comes back, and thousands in one moment would be a storm for the
targets that are left, and a long round for everybody else here.
"""

from __future__ import annotations

from collections.abc import Callable

from edgenode.steering.connection import Connection, Phase
from edgenode.steering.loop import Loop
from edgenode.steering.table import Table
from edgenode.steering.why import Why

INTERVAL = 0.01
"""Seconds between two portions."""

MOST_ENDED = 32
"""Connections that a portion ends at most."""

_never = float("inf")
_MOST_SEEN = 2000  # and looks at

_Dead = tuple[str, str, str, str, int]  # service, region, worker, address, port


class Dead:
    """`end(connection, why)` closes one. `due`: when `go_on` is needed; infinity: it is not."""

    def __init__(self, loop: Loop, end: Callable[[Connection, Why], None]) -> None:
        self.due = _never
        self._loop = loop
        self._end = end
        self._named: frozenset[_Dead] = frozenset()  # by the last table
        self._doomed: frozenset[_Dead] = frozenset()
        self._left: list[int] = []  # connections that are to be looked at

    def apply(self, table: Table) -> None:
        """Begin with those that the last table did not name; spare those that are back."""
        named = frozenset(
            (service.name, region.region, target.worker, target.address, target.port)
            for service in table.services
            for region in service.dead
            for target in region.workers
        )
        new, self._named = named - self._named, named
        self._doomed = (self._doomed & named) | new
        if new:
            self._left = list(self._loop.connections)
            self.due = self._loop.now

    def go_on(self) -> None:
        """End the next portion."""
        connections, left, doomed = self._loop.connections, self._left, self._doomed
        ended = 0
        for _ in range(min(len(left), _MOST_SEEN)):
            connection = connections.get(left.pop())
            if connection is not None and _target(connection) in doomed:
                self._end(connection, Why.TARGET_DIED)
                ended += 1
                if ended == MOST_ENDED:
                    break
        if left:
            self.due = self._loop.now + INTERVAL
        else:
            self.due, self._doomed = _never, frozenset()


def _target(connection: Connection) -> _Dead | None:
    attempt = connection.attempt
    if connection.phase is not Phase.LIVE or attempt is None:
        return None
    target = attempt.target
    name = connection.route.name
    return (name, attempt.region, target.worker, target.address, target.port)
