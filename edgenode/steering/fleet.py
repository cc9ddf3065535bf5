"""All relay workers, and the listeners, which belong to the fleet and not to a process.

Each relay worker has a listener of its own for each address (SO_REUSEPORT): the kernel shares the
users out among them.
"""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgenode.steering import descriptors
from edgenode.steering.listeners import ListenError, open_listeners
from edgenode.steering.occupancy import Register
from edgenode.steering.report import EjectionReport, RelayReport, add, merge_ejections
from edgenode.steering.slot import Seat, Slot
from edgenode.steering.table import Table, TableError
from edgenode.steering.tabledelta import diff

LISTEN_INTERVAL = 3.0
"""Seconds until an address that could not be listened on is tried again."""

logger = logging.getLogger("edgenode.steering")


class Fleet:
    """`workers` relay workers, which share out `max_connections` evenly.

    `limit` is how many files the process may have open. `listen_failures`: the addresses of the
    present table that could not be listened on, and why. `on_failures` is told of targets
    ("region/worker") that have just failed users' connections, and of regions that are silent.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        workers: int,
        max_connections: int,
        access_log: Path | None,
        limit: int,
        on_failures: Callable[[list[str]], None] = lambda targets: None,
    ) -> None:
        share = max(1, max_connections // workers)
        self.listen_failures: dict[str, str] = {}
        self._register = Register(workers, max_connections)
        self._slots = [
            Slot(selector, share, access_log, Seat(self._register, row), on_failures)
            for row in range(workers)
        ]
        self._limit = limit
        self._number = 0
        self._table: Table | None = None
        self._retry_at = 0.0

    def apply(self, table: Table) -> int:
        """Open and close listeners as the table says, and hand it to all; return its number.

        An address that cannot be listened on is left out, told in `listen_failures` and tried
        again by `tend`: it is no reason to hold back what the other services need. Raises
        TableError if there are more addresses than the limit of open files allows, or more workers
        and regions than can be counted.
        """
        most = descriptors.most_addresses(self._limit, len(self._slots))
        if len(table.listen) > most:
            raise TableError(
                f"{len(table.listen)} addresses are more than the limit of {self._limit} open"
                f" files allows with {len(self._slots)} relay workers, which is {most}; raise the"
                " limit (LimitNOFILE= of the unit) or take fewer relay workers"
            )
        self._register.assign(table, self._number + 1, self._obeyed())
        # A relay worker serves users with the time that it does not take for reading tables.
        delta = diff(self._table, table) if self._table is not None else None
        self._table = table
        self._number += 1
        for slot, new in zip(self._slots, self._open(table), strict=True):
            slot.apply(table, self._number, new, delta)
        return self._number

    def applied(self, number: int) -> bool:
        """Whether all relay workers that run have confirmed this table or a later one.

        One that is down does not count, as the next one starts with the newest table; but one at
        least must serve it.
        """
        return any(slot.process is not None for slot in self._slots) and self._obeyed() >= number

    def _obeyed(self) -> int:
        """The number of the latest table that all relay workers which run have confirmed."""
        processes = [slot.process for slot in self._slots if slot.process is not None]
        return min((process.applied for process in processes), default=self._number)

    def tend(self, now: float) -> None:
        """See `Slot.tend`; and try again what could not be listened on."""
        if self._table is not None and self.listen_failures and now >= self._retry_at:
            self._retry_at = now + LISTEN_INTERVAL
            for slot, new in zip(self._slots, self._open(self._table), strict=True):
                if new:
                    slot.apply(self._table, self._number, new)
        for slot in self._slots:
            slot.tend(now)

    def next_due(self) -> float:
        """When `tend` is needed next although no event came."""
        due = min(slot.next_due() for slot in self._slots)
        return min(due, self._retry_at) if self.listen_failures else due

    def reopen_log(self) -> None:
        """Let all open the access log anew."""
        for slot in self._slots:
            slot.reopen_log()

    def drain(self, seconds: float) -> None:
        """Accept no more; each process ends with its last connection or after `seconds`."""
        for slot in self._slots:
            slot.drain(seconds)

    def kill(self) -> None:
        """End all processes at once."""
        for slot in self._slots:
            if slot.process is not None:
                slot.process.kill()

    @property
    def running(self) -> bool:
        return any(slot.process is not None for slot in self._slots)

    def counters(self) -> dict[str, Any]:
        """The sum of all relay workers' counters, the former ones' totals included."""
        kinds = ("services", "figures", "full", "targets", "totals")
        total: dict[str, Any] = {kind: {} for kind in kinds}
        for slot in self._slots:
            total = add(total, slot.counters())
        return total

    def ejections(self) -> tuple[EjectionReport, ...]:
        """Whom the relay workers leave alone."""
        return merge_ejections(slot.ejections() for slot in self._slots)

    def relays(self) -> tuple[RelayReport, ...]:
        return tuple(slot.report() for slot in self._slots)

    def _open(self, table: Table) -> list[dict[str, socket.socket]]:
        """Open what the table names and is not open yet; for each slot its part of it."""
        opened: list[dict[str, socket.socket]] = [{} for _ in self._slots]
        failures: dict[str, str] = {}
        for listen in table.listen:
            if listen in self._slots[0].listeners:
                continue
            try:
                listeners = open_listeners(listen, len(self._slots))
            except ListenError as error:
                failures[listen] = str(error)
                continue
            for new, listener in zip(opened, listeners, strict=True):
                new[listen] = listener
        for listen, reason in failures.items():
            if self.listen_failures.get(listen) != reason:
                logger.error("%s; it is tried again", reason)
        for listen in opened[0].keys() & self.listen_failures.keys():
            logger.warning("%s is listened on now", listen)
        self.listen_failures = failures
        return opened
