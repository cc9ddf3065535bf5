"""Control's tables: what it has sent, and what it is told of them."""

from __future__ import annotations

import logging

from edgenode.steering.controlsocket import Client, ControlSocket
from edgenode.steering.fleet import Fleet
from edgenode.steering.report import FAILURES
from edgenode.steering.table import Table, TableError
from edgenode.steering.tabledelta import BaseError, patch
from edgenode.steering.tablesaver import TableSaver

Sent = tuple[Client, Table, int]
"""Who has sent a table, and its number."""

logger = logging.getLogger("edgenode.steering")


class Orders:
    """Call `answer` after each round of events."""

    def __init__(self, fleet: Fleet, control: ControlSocket, saver: TableSaver) -> None:
        self._fleet = fleet
        self._control = control
        self._saver = saver
        self._last: Sent | None = None
        self._unconfirmed: list[Sent] = []
        self._saved: Table | None = None

    def begin_with(self, table: Table) -> None:
        """Serve from the table that was saved. Raises TableError."""
        self._saved = table
        self._fleet.apply(table, trusted=True)

    def on_table(self, client: Client, value: object) -> None:
        """A client has sent a table."""
        revision = value.get("revision") if isinstance(value, dict) else None
        revision = revision if isinstance(revision, int) else None
        try:
            self._obey(client, Table.from_json(value))
        except TableError as error:
            self.refuse(client, revision, str(error))

    def on_delta(self, client: Client, value: object) -> None:
        """What a client changes of the table that it sent; that of another one is no base."""
        try:
            if self._last is None or self._last[0] is not client:
                raise BaseError
            self._obey(client, patch(self._last[1], value))
        except BaseError:
            self._control.send(client, {"type": "whole"})
        except TableError as error:
            self.refuse(client, None, str(error))

    def _obey(self, client: Client, table: Table) -> None:
        """Raises TableError."""
        number = self._fleet.apply(table)
        self._last = client, table, number
        self._unconfirmed.append(self._last)

    def refuse(self, client: Client, revision: int | None, reason: str) -> None:
        """What a client has sent is not obeyed."""
        logger.warning("table %s is refused: %s", revision, reason)
        self._control.send(client, {"type": "refused", "revision": revision, "reason": reason})

    def answer(self) -> None:
        """Tell control of the tables that all relay workers obey, and of those that nobody does."""
        self._take_back()
        waiting = []
        for client, table, number in self._unconfirmed:
            if self._fleet.applied(number):
                failed = self._fleet.listen_failures
                message = {"type": "applied", "revision": table.revision, "failed": failed}
                self._control.send(client, {**message, "deltas": True})
            else:
                waiting.append((client, table, number))
        self._unconfirmed = waiting
        present = self._fleet.present
        # Only now: what ends relay workers must not be what the next start begins with.
        if present and present.table is not self._saved and self._fleet.applied(present.number):
            self._saved = present.table
            self._saver.save(present.table)

    def _take_back(self) -> None:
        """Tell control of tables that were set aside: what it changes next is no change of them."""
        fleet, last, waiting = self._fleet, self._last, self._unconfirmed
        refused, fleet.refused = dict(fleet.refused), []
        wants_again, fleet.wants_again = fleet.wants_again, False
        if not refused and not wants_again:
            return
        self._unconfirmed = [one for one in waiting if not wants_again and one[2] not in refused]
        is_last = last is not None and last[2] in refused
        if last is not None and is_last and last not in waiting:  # it was in force
            waiting = [*waiting, last]
            if (present := fleet.present) is not None:
                self._unconfirmed.append((last[0], present.table, present.number))
        for client, table, number in waiting:
            if number in refused:
                self.refuse(client, table.revision, refused[number])
        if wants_again:
            self._control.publish({"type": "whole"}, wanted=FAILURES)
        if is_last or wants_again:
            self._last = None
