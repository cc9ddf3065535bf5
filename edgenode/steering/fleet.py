"""All relay workers, and the listeners, which belong to the fleet and not to a process.

Each relay worker has a listener of its own for each address (SO_REUSEPORT): the kernel shares the
users out among them. Which table they are given is `rollout`'s to say.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgenode.steering import descriptors
from edgenode.steering.figures import RelayFigures
from edgenode.steering.listeners import ListenError, open_listeners
from edgenode.steering.occupancy import Register
from edgenode.steering.process import Process, Seat
from edgenode.steering.report import (
    EjectionReport,
    RelayReport,
    SetAsideReport,
    add,
    merge_ejections,
)
from edgenode.steering.rollout import Entry, Fault, Rollout, Ruling
from edgenode.steering.slot import Change, Slot
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
        self.refused: list[tuple[int, str]] = []
        """Tables that nobody obeys, by number, and why; whoever reads it clears it."""
        self.wants_again = False
        """Whether what was handed over last is to be handed over again, likewise."""
        self.set_aside: SetAsideReport | None = None
        """The last table that was at fault, until another comes into force."""
        self.set_aside_total = 0
        self._register = Register(workers, max_connections)
        self._slots = [
            Slot(selector, share, access_log, Seat(self._register, row), self, on_failures)
            for row in range(workers)
        ]
        self._limit = limit
        self._rollout = Rollout()
        self._change: Change | None = None  # that the table on trial makes
        self._opened: list[dict[str, socket.socket]] = []  # for it, and not handed over yet
        self._retry_at = 0.0
        self._borrowed = False  # the listeners are another supervisor's yet

    def apply(self, table: Table, trusted: bool = False) -> int:
        """Hand a table to a relay worker, and then to all; return its number.

        `trusted`: it was in force before this process. What comes of it is seen by `applied`,
        `refused` and `wants_again`.

        An address that cannot be listened on is left out, told in `listen_failures` and tried
        again by `tend`: it is no reason to hold back what the other services need. Raises
        TableError if there are more addresses than the limit of open files allows, or if the table
        was set aside before.
        """
        most = descriptors.most_addresses(self._limit, len(self._slots))
        if len(table.listen) > most:
            raise TableError(
                f"{len(table.listen)} addresses are more than the limit of {self._limit} open"
                f" files allows with {len(self._slots)} relay workers, which is {most}; raise the"
                " limit (LimitNOFILE= of the unit) or take fewer relay workers"
            )
        entry = self._rollout.offer(table, trusted)
        self._proceed()
        return entry.number

    @property
    def slots(self) -> Sequence[Slot]:
        """The relay workers' places."""
        return self._slots

    def take_in(self, table: Table | None, listeners: Sequence[dict[str, socket.socket]]) -> int:
        """Make ready to serve what another supervisor serves, with its listeners; see `apply`."""
        self._borrowed = True
        for slot, given in zip(self._slots, listeners, strict=True):
            slot.take_in(given)
        return 0 if table is None else self.apply(table, trusted=True)

    def own(self) -> None:
        """What was taken in is not the other's any more."""
        self._borrowed = False

    def applied(self, number: int) -> bool:
        """Whether all relay workers that run have confirmed this table or a later one.

        One that is down does not count, as the next one starts with the newest table; but one at
        least must serve it.
        """
        return any(slot.process is not None for slot in self._slots) and self._obeyed() >= number

    def _obeyed(self) -> int:
        """The number of the latest table that all relay workers which run have confirmed."""
        processes = [slot.process for slot in self._slots if slot.process is not None]
        present = self._rollout.present
        most = present.number if present else 0
        return min((process.confirmed for process in processes), default=most)

    @property
    def present(self) -> Entry | None:
        """The table in force."""
        return self._rollout.present

    # --- the way of a table

    def _proceed(self) -> None:
        """Begin the next trial, if there is a table that waits and a relay worker that answers."""
        rollout = self._rollout
        while rollout.trial is None and (entry := rollout.waiting) is not None:
            canary = self._canary()
            if canary is None:
                return
            try:
                self._register.assign(entry.table, entry.number, self._obeyed())
            except TableError as error:
                rollout.withdraw(entry)
                self.refused.append((entry.number, str(error)))
                continue
            present = rollout.present
            # A relay worker serves users with the time that it does not take for reading tables.
            if present is not None:
                self._change = Change(present.number, diff(present.table, entry.table))
            rollout.begin(canary)
            self._opened = self._open(entry.table)
            self._hand_over(canary, entry)

    def _canary(self) -> int | None:
        """The relay worker that was heard last; None: none runs."""
        running = [
            (slot.process.beat, -row)
            for row, slot in enumerate(self._slots)
            if slot.process is not None and slot.process.heard and not slot.process.dying
        ]
        return -max(running)[1] if running else None

    def _hand_over(self, row: int, entry: Entry) -> None:
        opened, self._opened[row] = self._opened[row], {}
        self._slots[row].apply(entry.table, entry.number, opened, self._change)

    def heard(self, row: int) -> None:
        """See `slot.Owner`."""
        self._proceed()

    def confirmed(self, row: int, number: int, now: float) -> None:
        """See `slot.Owner`."""
        entry = self._rollout.confirmed(row, number, now)
        if entry is None:
            return
        if self.set_aside is not None:
            logger.warning("table %d is in force", entry.table.revision)
            self.set_aside = None
        for other in range(len(self._slots)):
            if other != row:
                self._hand_over(other, entry)
        self._forget_trial()
        self._proceed()

    def ended(self, row: int, process: Process, how: str, fault: Fault, now: float) -> None:
        """See `slot.Owner`."""
        if self._borrowed:
            # The handover has failed. What a second trial opened beside the other's listeners would
            # be given users, and reset them.
            return
        rollout = self._rollout
        trial = rollout.trial if rollout.canary == row else None
        at = process.beat if fault is Fault.HUNG else now
        when = "while it was the first to have it" if trial else "within moments after it had it"
        reason = f"it was set aside, for relay worker {process.pid} has ended {how} {when}"
        ruling = rollout.ended(row, process.started, fault, at, now, reason)
        if trial is not None:
            self._restore(trial.number)
        if ruling is not None:
            self._obey(ruling, reason)
        self._proceed()

    def _restore(self, number: int) -> None:
        """Go back to the table in force; `number` is of the table that is not to be any more."""
        present = self._rollout.present
        self._forget_trial()
        if present is None:
            for slot in self._slots:
                slot.clear()
            return
        self._register.assign(present.table, number, self._obeyed())
        self._opened = self._open(present.table)
        for row, slot in enumerate(self._slots):
            if slot.process is None or slot.process.told != present.number or self._opened[row]:
                self._hand_over(row, present)

    def _forget_trial(self) -> None:
        self._change = None
        for opened in self._opened:
            for listener in opened.values():
                listener.close()
        self._opened = []

    def _obey(self, ruling: Ruling, reason: str) -> None:
        self.wants_again = self.wants_again or ruling.acquitted or bool(ruling.dropped)
        if ruling.acquitted:
            logger.error(
                "relay workers fail under the older table, too: what was set aside may come again"
            )
            return
        back = ruling.back
        for entry in ruling.tables:
            self.refused.append((entry.number, reason))
            self.set_aside_total += 1
        last = ruling.tables[-1]
        revision = last.table.revision
        self.set_aside = SetAsideReport(revision, reason, time.time())
        goes_on = f"table {back.table.revision} goes on" if back else "there is no other"
        logger.error("table %d: %s; %s", revision, reason, goes_on)
        if ruling.everywhere and back is not None:
            self._restore(back.number)

    # --- time

    def tend(self, now: float) -> None:
        """See `Slot.tend`; and try again what could not be listened on, or was set aside."""
        if now >= self._rollout.next_release() and self._rollout.release(now):
            logger.warning("what was set aside a while ago may come again")
            self.wants_again = True
        present = self._rollout.present
        if self._retries and present is not None and now >= self._retry_at:
            self._retry_at = now + LISTEN_INTERVAL
            self._opened = self._open(present.table)
            for row, opened in enumerate(self._opened):
                if opened:
                    self._hand_over(row, present)
        for slot in self._slots:
            slot.tend(now)

    @property
    def _retries(self) -> bool:
        """Whether there is something to be listened on yet, and no table is on its way."""
        return bool(self.listen_failures) and self._rollout.trial is None

    def next_due(self) -> float:
        """When `tend` is needed next although no event came."""
        due = min(self._rollout.next_release(), *(slot.next_due() for slot in self._slots))
        return min(due, self._retry_at) if self._retries else due

    def reopen_log(self) -> None:
        """Let all open the access log anew."""
        for slot in self._slots:
            slot.reopen_log()

    def drain(self, seconds: float) -> None:
        """Accept no more; each process ends with its last connection or after `seconds`."""
        self._rollout.trial = self._rollout.waiting = None
        self._forget_trial()
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
        kinds = ("services", "figures", "full", "targets", "totals", "shortages")
        total: dict[str, Any] = {kind: {} for kind in kinds}
        for slot in self._slots:
            total = add(total, slot.counters())
        return total

    def ejections(self) -> tuple[EjectionReport, ...]:
        """Whom the relay workers leave alone."""
        return merge_ejections(slot.ejections() for slot in self._slots)

    def relays(self) -> tuple[RelayReport, ...]:
        return tuple(slot.report() for slot in self._slots)

    def relay_figures(self) -> tuple[RelayFigures, ...]:
        return tuple(slot.figures() for slot in self._slots)

    def _open(self, table: Table) -> list[dict[str, socket.socket]]:
        """Open what the table names and is not open yet; for each slot its part of it."""
        opened: list[dict[str, socket.socket]] = [{} for _ in self._slots]
        failures: dict[str, str] = {}
        for listen in table.listen:
            lacking = [row for row, slot in enumerate(self._slots) if listen not in slot.listeners]
            if not lacking:
                continue
            try:
                listeners = open_listeners(listen, len(lacking))
            except ListenError as error:
                failures[listen] = str(error)
                continue
            for row, listener in zip(lacking, listeners, strict=True):
                opened[row][listen] = listener
        for listen, reason in failures.items():
            if self.listen_failures.get(listen) != reason:
                logger.error("%s; it is tried again", reason)
        for listen in self.listen_failures.keys() - failures.keys():
            if any(listen in new for new in opened):
                logger.warning("%s is listened on now", listen)
        self.listen_failures = failures
        return opened
