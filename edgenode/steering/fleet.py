"""All relay workers, and the listeners, which belong to the fleet and not to a process.

Each relay worker has a listener of its own for each address (SO_REUSEPORT): the kernel shares the
users out among them.
"""

from __future__ import annotations

import logging
import selectors
import socket
from pathlib import Path
from typing import Any

from edgenode.steering.listeners import ListenError, open_listener
from edgenode.steering.report import RelayReport, add
from edgenode.steering.slot import Slot
from edgenode.steering.table import Table

logger = logging.getLogger("edgenode.steering")


class Fleet:
    """`workers` relay workers, which share out `max_connections` evenly."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        workers: int,
        max_connections: int,
        access_log: Path | None,
    ) -> None:
        limit = max(1, max_connections // workers)
        self._slots = [Slot(selector, limit, access_log) for _ in range(workers)]
        self._number = 0

    def apply(self, table: Table, *, all_or_none: bool = True) -> int:
        """Open and close listeners as the table says, and hand it to all; return its number.

        Raises ListenError if an address cannot be listened on; then all stays as it was. If not
        `all_or_none`, that address is left out and logged.
        """
        opened: list[dict[str, socket.socket]] = [{} for _ in self._slots]
        for slot, new in zip(self._slots, opened, strict=True):
            for listen in table.listen:
                if listen in slot.listeners:
                    continue
                try:
                    new[listen] = open_listener(listen)
                except ListenError as error:
                    if all_or_none:
                        for listener in (one for some in opened for one in some.values()):
                            listener.close()
                        raise
                    logger.error("%s", error)
        self._number += 1
        for slot, new in zip(self._slots, opened, strict=True):
            slot.apply(table, self._number, new)
        return self._number

    def applied(self, number: int) -> bool:
        """Whether all relay workers that run have confirmed this table or a later one.

        One that is down does not count: the next one starts with the newest table.
        """
        processes = [slot.process for slot in self._slots if slot.process is not None]
        return all(process.applied >= number for process in processes)

    def tend(self, now: float) -> None:
        """See `Slot.tend`."""
        for slot in self._slots:
            slot.tend(now)

    def next_due(self) -> float:
        """When `tend` is needed next although no event came."""
        return min(slot.next_due() for slot in self._slots)

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
        total: dict[str, Any] = {"services": {}, "targets": {}}
        for slot in self._slots:
            total = add(total, slot.counters())
        return total

    def relays(self) -> tuple[RelayReport, ...]:
        return tuple(slot.report() for slot in self._slots)
