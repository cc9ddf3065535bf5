"""The `edgenode steering` process: owns the listeners, keeps relay workers running, obeys control.

It needs nobody: without control it serves from the last table that it accepted.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgenode import places
from edgenode.notify import Notifier
from edgenode.release import RELEASE
from edgenode.steering import FORM, descriptors, tablefile
from edgenode.steering.accesslog import AccessLog
from edgenode.steering.checked import shown
from edgenode.steering.controlsocket import Client, ControlSocket, SocketTaken
from edgenode.steering.fleet import Fleet
from edgenode.steering.handover.giving import Giving, OnStep
from edgenode.steering.handover.meeting import listen
from edgenode.steering.handover.taking import HandoverError, Taking, ask
from edgenode.steering.orders import Orders
from edgenode.steering.report import FAILURES, Report, Tree, add
from edgenode.steering.shortage import Teller
from edgenode.steering.slot import Slot
from edgenode.steering.table import Table, TableError
from edgenode.steering.tablesaver import TableSaver

_REPORT_INTERVAL = 1.0
_DRAIN_MARGIN = 2.0  # seconds that relay workers get beyond the drain, before they are killed
_LOG_PATIENCE = 2.0  # seconds that relay workers without connections get to write their log
_SAVE_PATIENCE = 2.0  # seconds that a slow disk gets at the end

logger = logging.getLogger("edgenode.steering")


class Supervisor:
    """One thread, one loop. Raises SocketTaken and OSError when it cannot start."""

    def __init__(
        self,
        run_dir: Path,
        state_dir: Path,
        workers: int,
        max_connections: int,
        access_log: Path | None,
        limit: int,
        taking: Taking | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        """`taking`: the steering that runs, from which it takes over. `on_step` is for tests."""
        self._notifier = Notifier()
        if taking is not None:
            self._notifier.interval = self._notifier.interval or taking.watchdog
        self._selector = selectors.DefaultSelector()
        self._control = ControlSocket(
            places.steering_socket(run_dir),
            self._selector,
            self._on_line,
            taking.control if taking is not None else None,
        )
        self._fleet = Fleet(
            self._selector, workers, max_connections, access_log, limit, self._on_failures
        )
        self._table_file = places.steering_table(state_dir)
        self._stops = 0  # how many signals to stop have come
        self._hangups = 0
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._saver = TableSaver(self._table_file)
        self._orders = Orders(self._fleet, self._control, self._saver)
        self._report_at = 0.0
        self._shortages = Teller()
        self._taking = taking
        self._taken = 0  # the number of the table that was taken over
        self._on_step = on_step
        self._handover = places.steering_handover(run_dir)
        self._left = False  # another process has the connections
        self._heir = 0  # that one

    def run(self, drain: float, on_taken: Callable[[], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT; live connections then get up to `drain` seconds.

        A second signal ends the drain. SIGHUP: the access log is opened anew. A new version that
        takes over ends it, too.

        Raises HandoverError if it cannot take over itself, and OSError.
        """
        giving = self._begin()
        if on_taken is not None:
            on_taken()
        now = time.monotonic()
        while not self._stops and not self._left:
            self._notifier.alive(now)
            self._fleet.tend(now)
            self._control.tend(now)
            giving.tend(now)
            if now >= self._report_at:
                self._report_at = now + _REPORT_INTERVAL
                report = self._report()
                self._control.publish(report)
                for sentence in self._shortages.tell(report["shortages"], now):
                    logger.warning("%s", sentence)
            due = (self._report_at, self._fleet.next_due(), self._control.next_due())
            now = self._step(min(*due, giving.next_due()))
        giving.close()
        if self._left:
            self._end_without_them()
            return
        self._handover.unlink(missing_ok=True)
        self._notifier.stopping()
        self._control.close()
        self._fleet.drain(drain)
        deadline = time.monotonic() + drain + _DRAIN_MARGIN
        while self._fleet.running and self._stops == 1 and time.monotonic() < deadline:
            self._step(deadline)
        self._fleet.kill()
        while self._fleet.running:
            self._step(time.monotonic() + 1.0)
        self._saver.close(_SAVE_PATIENCE)

    def _begin(self) -> Giving:
        """Take over, or start; from then on it serves."""
        taking = self._taking
        if taking is None:
            self._catch_signals()
            self._load_table()
            listener = listen(self._handover)
            self._fleet.tend(time.monotonic())
            self._notifier.ready()
            present = self._fleet.present
            logger.info(
                "edgenode %s has started, with %d relay workers (%s); %s",
                RELEASE,
                len(self.slots),
                FORM,
                "it has no table yet, listens nowhere, and waits for control"
                if present is None
                else f"it serves from the last table (revision {present.table.revision})",
            )
        else:
            taking.run(self, self._selector)
            self._fleet.own()
            self._catch_signals()
            self._fleet.reopen_log()  # the old one may have been told so meanwhile
            more: Tree = {"totals": {"upgrades": 1}}
            for slot, counters in zip(self.slots, taking.counters, strict=True):
                slot.inherit(add(counters, more))
                more = {}
            self._control.resume()
            listener = taking.listener
            self._notifier.heir(os.getpid())
            self._notifier.ready()
            taking.close()
            logger.warning(
                "this version (%s) has taken over, with all connections; they waited for %.0f ms",
                RELEASE,
                taking.waited * 1e3,
            )
        return Giving(listener, self._selector, self, self._on_step)

    def _end_without_them(self) -> None:
        """Another process has the connections, and the sockets that are in the file system."""
        self._control.close(unlink=False)
        deadline = time.monotonic() + _LOG_PATIENCE
        while self._fleet.running and time.monotonic() < deadline:
            self._step(min(deadline, time.monotonic() + 0.1))
        self._fleet.kill()
        self._saver.close(_SAVE_PATIENCE)

    # --- what a handover asks of it, see `giving.Host` and `taking.Host`

    @property
    def slots(self) -> Sequence[Slot]:
        return self._fleet.slots

    @property
    def control(self) -> socket.socket:
        return self._control.server

    @property
    def watchdog(self) -> float | None:
        return self._notifier.interval

    def unfit(self) -> str | None:
        if any(slot.process is None for slot in self.slots):
            return "a relay worker is being replaced here; try again"
        return None

    def offer(self) -> dict[str, Any]:
        self._control.pause()
        present = self._fleet.present
        return {"table": None if present is None else present.table.to_json()}

    def keep(self) -> None:
        self._control.resume()

    def leave(self, heir: int) -> None:
        self._notifier.heir(heir)
        self._saver.forget()
        self._left, self._heir = True, heir

    def load(self, state: dict[str, Any], listeners: Sequence[dict[str, socket.socket]]) -> None:
        table = state["table"]
        try:
            wanted = None if table is None else Table.from_json(table)
            self._taken = self._fleet.take_in(wanted, listeners)
        except TableError as error:
            raise OSError(f"the table is refused here: {error}") from None

    def loaded(self) -> bool:
        return self._fleet.applied(self._taken)

    def _step(self, until: float) -> float:
        """Act on what comes until then; return a time up to which all that had come was read."""
        self._selector.select(max(0.0, until - time.monotonic()))
        # Read only now: a process that was stopped may come out of the wait empty-handed although
        # heartbeats have come, and `tend` would take the relay workers for hung.
        now = time.monotonic()
        for key, mask in self._selector.select(0):
            # An earlier callback of this round may have closed it.
            if self._selector.get_map().get(key.fd) is not None:
                key.data(mask, now)
        self._orders.answer()
        if self._hangups:
            self._hangups = 0
            self._fleet.reopen_log()
            if self._left:  # whoever rotates logs may not know the other one yet
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._heir, signal.SIGHUP)
        return now

    def _load_table(self) -> None:
        try:
            table = tablefile.load(self._table_file)
            if table is not None:
                self._orders.begin_with(table)
        except (TableError, OSError) as error:
            logger.error(
                "cannot use the last table, %s: %s; waiting for control", self._table_file, error
            )

    def _on_line(self, client: Client, line: bytes) -> None:
        """Obey a message of control."""
        try:
            message = json.loads(line)
            kind = message["type"]
        except (ValueError, TypeError, KeyError, RecursionError):
            self._orders.refuse(client, None, "not a JSON object with a type")
            return
        if kind == "status":
            self._control.send(client, self._report())
        elif kind == "table":
            wants = message.get("wants")
            client.wants = frozenset(
                {FAILURES} if isinstance(wants, list) and FAILURES in wants else ()
            )
            self._orders.on_table(client, message.get("table"))
        elif kind == "delta":
            self._orders.on_delta(client, message.get("delta"))
        else:
            self._orders.refuse(client, None, f"the type {shown(kind)} is unknown")

    def _on_failures(self, targets: list[str]) -> None:
        self._control.publish({"type": FAILURES, "targets": targets}, wanted=FAILURES)

    def _report(self) -> dict[str, Any]:
        counters = self._fleet.counters()
        report = Report(
            at=time.time(),
            relays=self._fleet.relays(),
            relay_figures=self._fleet.relay_figures(),
            listen_failures=self._fleet.listen_failures,
            full=counters["full"],
            ejections=self._fleet.ejections(),
            set_aside=self._fleet.set_aside,
            set_aside_total=self._fleet.set_aside_total,
            shortages=counters["shortages"],
            release=RELEASE,
            **counters["totals"],
        )
        return {
            **report.to_json(),
            "services": counters["services"],
            "targets": counters["targets"],
            "figures": counters["figures"],
        }

    def _catch_signals(self) -> None:
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGHUP, self._on_hangup)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        self._selector.register(self._woken, selectors.EVENT_READ, self._on_woken)

    def _on_stop(self, _number: int, _frame: object) -> None:
        self._stops += 1

    def _on_hangup(self, _number: int, _frame: object) -> None:
        self._hangups += 1

    def _on_woken(self, _events: int, _now: float) -> None:
        self._woken.recv(64)


def main(
    run_dir: Path,
    state_dir: Path,
    workers: int,
    max_connections: int,
    access_log: Path | None = None,
    drain: float = 0.0,
    on_step: OnStep | None = None,
    on_taken: Callable[[], None] | None = None,
) -> int:
    """Run steering; return the exit status. `workers` 0: one relay worker for each core.

    `drain` is how many seconds live connections get when it is stopped; then they are reset.

    If steering runs already, as the same user, it takes over from that one, and that one ends. It
    then has as many relay workers as that one. `on_taken`: it is to take over, or to fail; called
    when it has.
    """
    # The loop waits for the thread that saves tables no longer than this (else five times as long).
    sys.setswitchinterval(0.001)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to open anew
    limit = descriptors.raise_limit()
    try:
        if access_log is not None:
            AccessLog(access_log).close()  # an error is told once here, not by each relay worker
        wanted = workers or len(os.sched_getaffinity(0))
        taking = ask(places.steering_handover(run_dir), limit, on_step)
        if taking is None and on_taken is not None:
            logger.error("no edgenode steering runs in %s that could be replaced", run_dir)
            return 1
        if taking is not None and taking.workers != wanted:
            logger.warning(
                "the steering that runs has %d relay workers, and %d are wanted: it goes on with"
                " %d; `systemctl restart` gives the other number, and ends all connections",
                taking.workers,
                wanted,
                taking.workers,
            )
        supervisor = Supervisor(
            run_dir,
            state_dir,
            taking.workers if taking is not None else wanted,
            max_connections,
            access_log,
            limit,
            taking,
            on_step,
        )
        supervisor.run(drain, on_taken)
    except HandoverError as error:
        logger.error(
            "cannot take over from the edgenode steering that runs, which goes on: %s", error
        )
        return 1
    except (SocketTaken, OSError) as error:
        logger.error("cannot start steering: %s", error)
        return 1
    return 0
