"""The place of one relay worker: its listeners, and the process that serves them now.

Times are of the monotonic clock and passed in, in seconds.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgenode.steering.channel import MAX_DESCRIPTORS, Channel, Message
from edgenode.steering.faults import GONE
from edgenode.steering.figures import RelayFigures, relay_figures
from edgenode.steering.occupancy import columns_to_json
from edgenode.steering.process import Process, Seat, is_stopped
from edgenode.steering.report import FAILURES, RelayReport, Tree, add, forget, retire, succeed
from edgenode.steering.rollout import Fault
from edgenode.steering.table import Table
from edgenode.steering.tabledelta import Delta

BEAT_TIMEOUT = 5.0
"""Seconds without a heartbeat until a relay worker is killed and replaced."""

_STALL = 2.0  # seconds between two calls of `tend` that show that the machine stood still
_DELAYS = (0.0, 0.1, 0.3, 1.0, 3.0, 5.0)
_STEADY = 10.0  # seconds after which an end is not an early one

logger = logging.getLogger("edgenode.steering")


def restart_delay(early_ends: int) -> float:
    """Seconds to wait before the next start, after so many early ends in a row."""
    return _DELAYS[min(early_ends, len(_DELAYS) - 1)]


@dataclass(frozen=True, slots=True)
class Change:
    """What a table changes of the one with the number `base`."""

    base: int
    delta: Delta


class Owner(Protocol):
    """Who is told of a relay worker's process; `row` is its place."""

    def heard(self, row: int) -> None:
        """A new process has spoken."""

    def confirmed(self, row: int, number: int, now: float) -> None:
        """It has applied a table, and has still answered then."""

    def ended(self, row: int, process: Process, how: str, fault: Fault, now: float) -> None:
        """It has ended; the next one is not started before this returns."""


class Slot:
    """Keeps one relay worker running: one that ends is followed by the next.

    The listeners stay, with the users in their queues.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        limit: int,
        access_log: Path | None,
        seat: Seat,
        owner: Owner,
        on_failures: Callable[[list[str]], None] = lambda targets: None,
    ) -> None:
        self.listeners: dict[str, socket.socket] = {}
        self.process: Process | None = None
        self.on_step: Callable[[Slot, Message], None] | None = None
        """Is told how far a handover is in the relay worker, and that it has ended."""
        self._selector = selector
        self._limit = limit
        self._access_log = access_log
        self._seat = seat
        self._owner = owner
        self._on_failures = on_failures
        self._table: Table | None = None
        self._number = 0
        self._healthy = False
        self._since = time.time()
        self._retired: dict[str, Any] = {}
        self._early_ends = 0
        self._draining = False
        self._tended = float("inf")
        self._start_at: float | None = 0.0  # None: it runs, or is not to run any more

    def tend(self, now: float) -> None:
        """Start the process if it is time, kill it if it hangs.

        `now` is when the present round of events was read, so that a heartbeat that has come while
        the supervisor itself was stopped is not overlooked. It is called at least once a second:
        the time in which it was not does not count, for the process may have been stopped too.
        """
        process, stalled, self._tended = self.process, now - self._tended, now
        if process is not None and stalled > _STALL:
            process.beat = min(now, process.beat + stalled)
        if self._start_at is not None and now >= self._start_at:
            self._start(now)
        elif process and not process.dying and now - process.beat > BEAT_TIMEOUT:
            logger.warning(
                "relay worker %d has not answered for %.1f s: it is killed and replaced",
                process.pid,
                now - process.beat,
            )
            self._mark(False)
            process.silent = not is_stopped(process.pid)
            process.kill()

    def next_due(self) -> float:
        """When `tend` is needed next although no event came."""
        if self._start_at is not None:
            return self._start_at
        process = self.process
        if process is None or process.dying:  # that it has ended is an event of its own
            return float("inf")
        return process.beat + BEAT_TIMEOUT + 0.01

    def apply(
        self,
        table: Table,
        number: int,
        opened: dict[str, socket.socket],
        change: Change | None = None,
    ) -> None:
        """Hand over a table, and the listeners opened for it; `number` comes back as `applied`.

        A process that has the table that a change starts from is told the change alone.
        """
        self._table, self._number = table, number
        self.listeners.update(opened)
        self._retired = forget(self._retired, table)
        # Ours is closed first: the relay worker then has the last copy, and takes what is in its
        # queue before it closes it too.
        for listen in self.listeners.keys() - set(table.listen):
            self.listeners.pop(listen).close()
        if self.process is not None:
            self._hand_over(list(opened), change)

    def clear(self) -> None:
        """There is no table that could be served: the next process waits for one."""
        self._table = None
        self._close_listeners()

    def arrive(self, now: float, other: int) -> None:
        """Start a process that takes over from the relay worker at the other end. Raises OSError.

        It serves nobody until it is told to.
        """
        self._start_at = None
        self.process = Process(self._limit, self._access_log, self._seat, now, other)
        self._attend(self.process)

    def take_in(self, listeners: dict[str, socket.socket]) -> None:
        """These are its listeners, which another supervisor has opened."""
        self.listeners = dict(listeners)
        self._give(list(listeners))

    def inherit(self, counters: Tree) -> None:
        """Go on from these totals."""
        self._retired = retire(counters)

    def say(self, message: Message, descriptors: tuple[int, ...] = ()) -> None:
        """Tell the process something about a handover. Raises OSError if there is none."""
        if self.process is None:
            raise OSError("a relay worker has ended")
        self._send(message, descriptors)

    def leave(self) -> None:
        """Another process has the connections: let this one end without touching them."""
        self._draining = True
        self._start_at = None
        if self.process is not None:
            self._send({"type": "leave"})

    @property
    def live(self) -> int:
        """Connections of the process, as far as it has told."""
        services = self.process.counters.get("services", {}) if self.process else {}
        return sum(service["live"] for service in services.values())

    def reopen_log(self) -> None:
        """Let the process open its access log anew."""
        if self.process is not None:
            self._send({"type": "reopen"})

    def drain(self, seconds: float) -> None:
        """Let the process accept no more, and end with its last connection or after `seconds`."""
        self._draining = True
        self._start_at = None
        self._close_listeners()
        if self.process is not None:
            self._send({"type": "drain", "seconds": seconds})

    def _close_listeners(self) -> None:
        for listener in self.listeners.values():
            listener.close()
        self.listeners.clear()

    def counters(self) -> dict[str, Any]:
        """Totals of all processes that were here, and what is live."""
        return add(self._retired, self.process.counters) if self.process else self._retired

    def ejections(self) -> list[dict[str, Any]]:
        """Whom the process leaves alone."""
        return self.process.ejections if self.process else []

    def figures(self) -> RelayFigures:
        """How the process does."""
        if self.process is None:
            return RelayFigures()
        return relay_figures({**self.process.figures, "pid": self.process.pid})

    def report(self) -> RelayReport:
        return RelayReport(self.process.pid if self.process else 0, self._healthy, self._since)

    def _start(self, now: float) -> None:
        self._start_at = None
        try:
            process = self.process = Process(self._limit, self._access_log, self._seat, now)
        except OSError as error:
            self._early_ends += 1
            self._start_at = now + max(0.1, restart_delay(self._early_ends))
            logger.error("cannot start a relay worker: %s; it is tried again", error)
            return
        self._attend(process)
        self._hand_over(list(self.listeners))

    def _attend(self, process: Process) -> None:
        self._selector.register(process.pidfd, selectors.EVENT_READ, self._on_exit)
        self._selector.register(process.channel, selectors.EVENT_READ, self._on_channel)

    def _give(self, new: list[str]) -> bool:
        """Send listeners; False if the process ends."""
        for at in range(0, len(new), MAX_DESCRIPTORS):
            some = new[at : at + MAX_DESCRIPTORS]
            descriptors = tuple(self.listeners[listen].fileno() for listen in some)
            if not self._send({"type": "listeners", "listen": some}, descriptors):
                return False
        return True

    def _hand_over(self, new: list[str], change: Change | None = None) -> None:
        if not self._give(new):
            return
        process, number = self.process, self._number
        if process is None or self._table is None:
            return
        before, process.told = process.told, number
        if change is not None and process.takes_deltas and before == change.base:
            columns = columns_to_json(self._seat.register.fresh)
            message = {"type": "delta", "number": number, "delta": change.delta, "columns": columns}
        else:
            columns = columns_to_json(self._seat.register.columns)
            table = self._table.to_json()
            message = {"type": "table", "number": number, "table": table, "columns": columns}
        self._send(message)

    def _send(self, message: Message, descriptors: tuple[int, ...] = ()) -> bool:
        """Send a message; False if the process ends, and the next one is to be told all anew."""
        process = self.process
        assert process is not None
        try:
            process.channel.send(message, descriptors)
        except OSError as error:
            self._lost(process, error)
            return False
        self._watch(process.channel)
        return True

    def _lost(self, process: Process, error: OSError) -> None:
        """The process lacks a message: it must not go on without."""
        if error.errno in GONE:  # it is about to end
            return
        logger.error(
            "relay worker %d cannot be told what it needs to know: %s; it is killed and replaced",
            process.pid,
            error.strerror,
        )
        self._mark(False)
        process.kill()

    def _watch(self, channel: Channel) -> None:
        if channel.fileno() in self._selector.get_map():
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.blocked else 0)
            self._selector.modify(channel, events, self._on_channel)

    def _on_channel(self, events: int, now: float) -> None:
        process = self.process
        if process is None:
            return
        if events & selectors.EVENT_READ and not self._read(process, now):
            self._selector.unregister(process.channel)
            return
        if events & selectors.EVENT_WRITE:
            try:
                process.channel.flush()
            except OSError as error:
                self._selector.unregister(process.channel)
                self._lost(process, error)
                return
            self._watch(process.channel)

    def _read(self, process: Process, now: float) -> bool:
        """Take what the process has sent; False if it has closed its end: it is about to exit."""
        try:
            messages = process.channel.receive()
        except OSError:
            messages = None
        if messages is None:
            return False
        for message, _ in messages:
            if message["type"] == "applied":
                process.applied = message["number"]
                process.takes_deltas = message.get("deltas") is True
                # Its answer shows that a whole round went well under the new table.
                if message.get("pings") is True:
                    self._send({"type": "ping", "number": process.applied})
                else:  # it is of an older edgenode
                    self._confirmed(process, process.applied, now)
            elif message["type"] == "pong":
                self._confirmed(process, message["number"], now)
            elif message["type"] == "whole":
                self._hand_over([])
            elif message["type"] == FAILURES:
                self._on_failures(message["targets"])
            elif message["type"] == "handover":
                if self.on_step is not None:
                    self.on_step(self, message)
            else:
                process.ejections = message.get("ejections", [])
                process.figures = message.get("figures", {})
                process.counters = {
                    **succeed(process.counters, message["counters"]),
                    "totals": {key: message[key] for key in ("accept_errors", "log_dropped")},
                }
            process.beat = now
            self._mark(True)
        if messages and not process.heard:
            process.heard = True
            self._owner.heard(self._seat.row)
        return True

    def _confirmed(self, process: Process, number: int, now: float) -> None:
        process.confirmed = number
        if not process.dying:
            self._owner.confirmed(self._seat.row, number, now)

    def _on_exit(self, events: int, now: float) -> None:
        process = self.process
        if process is None:
            return
        process.dying = True
        self._read(process, now)  # its last report
        self._selector.unregister(process.pidfd)
        if process.channel.fileno() in self._selector.get_map():
            self._selector.unregister(process.channel)
        ended = process.reap()
        self.process = None
        self._seat.register.clear(self._seat.row)
        self._retired = add(self._retired, retire(process.counters))
        self._mark(False)
        if self.on_step is not None:
            reason = f"relay worker {process.pid} has ended {ended.how}"
            self.on_step(self, {"step": "failed", "reason": reason})
        if self._draining:
            return
        self._early_ends = self._early_ends + 1 if now - process.started < _STEADY else 0
        delay = restart_delay(self._early_ends)
        self._start_at = now + delay
        logger.warning(
            "relay worker %d has ended %s: the next one starts in %.1f s",
            process.pid,
            ended.how,
            delay,
        )
        self._owner.ended(self._seat.row, process, ended.how, ended.fault, now)

    def _mark(self, healthy: bool) -> None:
        if healthy != self._healthy:
            self._healthy = healthy
            self._since = time.time()
