"""Taking the connections out of a relay that goes on with them, and may go on for good.

First those that are live are copied while they live on, some at a time; when the relay is frozen,
only what has changed since is sent once more. Whether something has is seen by comparing rows: no
part of the relay has to remember to tell.

A connection that is being dialed goes without its attempts: no byte of it has been sent, so the
other begins anew with what the user has said. One that waits for its first bytes, or of which a
PROXY header or a hello is awaited, goes as it is.

Nothing here changes what the relay will do, nor reads from or writes to a user or a worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from edgenode.steering.admission import OUTSIDE
from edgenode.steering.connection import Connection, Phase, Side
from edgenode.steering.handover import preface
from edgenode.steering.handover.channel import MOST_DESCRIPTORS
from edgenode.steering.handover.parts import Parts
from edgenode.steering.handover.record import KEPT, Row, State, encode
from edgenode.steering.table import service_to_json

BATCH = (MOST_DESCRIPTORS - 1) // 2
"""Connections in a message: two descriptors each, and the record's own."""

SOME = 32
"""Of those that are copied in one round: it is to take a millisecond, for users wait that long."""

Known = tuple[Side, Side, State]
"""The sides of a connection that the other has, and how it was then."""

Piece = tuple[bytes, list[int]]
"""A record, and the descriptors that belong beside it."""


class Export:
    """Remembers what the other has."""

    def __init__(self, parts: Parts) -> None:
        self._loop = parts.loop
        self._acceptor = parts.acceptor
        self._sent: dict[int, Known | None] = {}

    def copy(self) -> Piece | None:
        """Some more of those that are live; None: it has had them all."""
        fresh = (
            connection
            for connection in self._loop.connections.values()
            if connection.phase is Phase.LIVE and connection.number not in self._sent
        )
        some = list(islice(fresh, SOME))
        return self._piece([self._row(one) for one in some]) if some else None

    def closed(self, most: int) -> list[int]:
        """Which (some) of those that the other has are over: it is to close its copies now.

        As long as it has them, users do not see the end.
        """
        connections = self._loop.connections
        over = (number for number in self._sent if number not in connections)
        gone = list(islice(over, most))
        for number in gone:
            del self._sent[number]
        return gone

    def changes(self) -> Iterator[Piece]:
        """All that differs from what the other has. The relay is frozen."""
        for side in self._loop.sides.values():
            self._loop.pipes.settle(side)
        sent = self._sent
        changed = (
            self._row(connection)
            for number, connection in self._loop.connections.items()
            if (known := sent.get(number)) is None or _state(connection, *known[:2]) != known[2]
        )
        while some := list(islice(changed, BATCH)):
            yield self._piece(some)

    def _piece(self, rows: Sequence[Row]) -> Piece:
        descriptors: list[int] = []
        told: list[Row] = []
        for row in rows:
            if row.number in self._sent:  # it was live already, and has the same sockets for good
                told.append(row._replace(fd_up=KEPT, fd_down=KEPT))
            else:
                places, inodes = [-1, -1], [0, 0]
                for side, fd in enumerate((row.fd_up, row.fd_down)):
                    if fd >= 0:
                        places[side], inodes[side] = len(descriptors), os.fstat(fd).st_ino
                        descriptors.append(fd)
                told.append(
                    row._replace(
                        fd_up=places[0],
                        fd_down=places[1],
                        inode_up=inodes[0],
                        inode_down=inodes[1],
                    )
                )
            self._sent[row.number] = self._known(row)
        return encode({"services": self._gone(rows)}, told), descriptors

    def _known(self, row: Row) -> Known | None:
        if row.fd_down < 0:
            return None
        sides = self._loop.sides
        client, worker = sides[row.fd_up], sides[row.fd_down]
        return client, worker, _state(client.connection, client, worker)

    def _gone(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The services of these that the table does not name any more; nobody dials for them."""
        named = {route.service.name for route in self._acceptor.routes()}
        found = {}
        for row in rows:
            if row.service not in named and row.service not in found:
                service = self._loop.connections[row.number].route.service
                found[row.service] = service_to_json(replace(service, listen=(), regions=()))
        return found

    def _row(self, connection: Connection) -> Row:
        """The connection as it is now; descriptors are those of this process."""
        phase, sides = connection.phase, self._loop.sides
        client = sides[connection.client_fd]
        guarded = connection.source != OUTSIDE
        plain = (
            connection.number,
            phase.name,
            connection.route.name,
            *connection.client,
            *connection.local,
            connection.started,
            connection.connected,
            connection.dialed,
            connection.attempts,
            connection.errors,
        )
        attempt = connection.attempt
        if phase is not Phase.LIVE or attempt is None:
            # The header is made anew, by the service as it is then.
            held = client.held[connection.header_size :]
            return Row(
                *plain,
                guarded=guarded,
                fd_up=client.fd,
                active=connection.active,
                held_up=held,
                ended_up=client.ended,
                eof_up=client.eof,
                more=preface.told(connection),
            )
        worker, target = sides[connection.worker_fd], attempt.target
        return Row(
            *(
                *plain,
                connection.header_size,
                attempt.region,
                target.worker,
                target.address,
                target.port,
                guarded,
                client.fd,
                worker.fd,
                0,
                0,
                *_state(connection, client, worker),
                preface.told(connection),
            )
        )


def _state(connection: Connection, client: Side, worker: Side) -> State:
    """All of a live connection that may change. Cheap: it is asked of each while users wait."""
    return (
        connection.active,
        connection.half_closed,
        client.moved,
        worker.moved,
        client.held,
        worker.held,
        client.ended,
        worker.ended,
        client.failed,
        worker.failed,
        client.eof,
        worker.eof,
        client.end_passed,
        worker.end_passed,
        client.broken,
        worker.broken,
        connection.reset,
        connection.reset_at,
    )
