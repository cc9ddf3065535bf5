"""The `edgenode steering` process: owns the listeners, keeps relay workers running, obeys control.

It needs nobody: without control it serves from the last table that it accepted.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import socket
import time
from pathlib import Path
from typing import Any

from edgenode.steering import tablefile
from edgenode.steering.accesslog import AccessLog
from edgenode.steering.controlsocket import Client, ControlSocket, SocketTaken
from edgenode.steering.fleet import Fleet
from edgenode.steering.listeners import ListenError
from edgenode.steering.report import Report
from edgenode.steering.table import Table, TableError

SOCKET = "steering.sock"
TABLE_FILE = "steering-table.json"

_REPORT_INTERVAL = 1.0
_DRAIN_MARGIN = 2.0  # seconds that relay workers get beyond the drain, before they are killed

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
    ) -> None:
        self._selector = selectors.DefaultSelector()
        self._control = ControlSocket(run_dir / SOCKET, self._selector, self._on_line)
        self._fleet = Fleet(self._selector, workers, max_connections, access_log)
        self._table_file = state_dir / TABLE_FILE
        self._unconfirmed: list[tuple[Client, int, int]] = []  # client, revision, number
        self._stop = False
        self._wake_signal, self._on_signal = socket.socketpair()
        self._report_at = 0.0

    def run(self, drain: float) -> None:
        """Serve until SIGTERM or SIGINT; live connections then get up to `drain` seconds."""
        self._catch_signals()
        self._load_table()
        while not self._stop:
            now = time.monotonic()
            self._fleet.tend(now)
            if now >= self._report_at:
                self._report_at = now + _REPORT_INTERVAL
                self._control.publish(self._report())
            self._step(min(self._report_at, self._fleet.next_due()))
        self._control.close()
        self._fleet.drain(drain)
        deadline = time.monotonic() + drain + _DRAIN_MARGIN
        while self._fleet.running and time.monotonic() < deadline:
            self._step(deadline)
        self._fleet.kill()
        while self._fleet.running:
            self._step(time.monotonic() + 1.0)

    def _step(self, until: float) -> None:
        events = self._selector.select(max(0.0, until - time.monotonic()))
        now = time.monotonic()
        for key, mask in events:
            # An earlier callback of this round may have closed it.
            if self._selector.get_map().get(key.fd) is not None:
                key.data(mask, now)
        self._confirm()

    def _load_table(self) -> None:
        try:
            table = tablefile.load(self._table_file)
        except (TableError, OSError) as error:
            logger.error(
                "cannot use the last table, %s: %s; waiting for control", self._table_file, error
            )
            return
        if table is not None:
            self._fleet.apply(table, all_or_none=False)

    def _on_line(self, client: Client, line: bytes) -> None:
        """Obey a message of control."""
        try:
            message = json.loads(line)
            kind = message["type"]
        except (ValueError, TypeError, KeyError):
            self._refuse(client, None, "not a JSON object with a type")
            return
        if kind == "status":
            self._control.send(client, self._report())
        elif kind == "table":
            self._on_table(client, message.get("table"))
        else:
            self._refuse(client, None, f"the type {kind!r} is unknown")

    def _on_table(self, client: Client, value: object) -> None:
        revision = value.get("revision") if isinstance(value, dict) else None
        try:
            table = Table.from_json(value)
            number = self._fleet.apply(table)
        except (TableError, ListenError) as error:
            self._refuse(client, revision, str(error))
            return
        try:
            tablefile.save(self._table_file, table)
        except OSError as error:  # it serves all the same, but a restart would bring the old one
            logger.error("cannot save the table in %s: %s", self._table_file, error)
        self._unconfirmed.append((client, table.revision, number))

    def _refuse(self, client: Client, revision: object, reason: str) -> None:
        logger.warning("table %s is refused: %s", revision, reason)
        self._control.send(client, {"type": "refused", "revision": revision, "reason": reason})

    def _confirm(self) -> None:
        """Tell control of the tables that all relay workers obey by now."""
        waiting = []
        for client, revision, number in self._unconfirmed:
            if self._fleet.applied(number):
                self._control.send(client, {"type": "applied", "revision": revision})
            else:
                waiting.append((client, revision, number))
        self._unconfirmed = waiting

    def _report(self) -> dict[str, Any]:
        counters = self._fleet.counters()
        return {
            **Report(at=time.time(), relays=self._fleet.relays()).to_json(),
            "services": counters["services"],
            "targets": counters["targets"],
        }

    def _catch_signals(self) -> None:
        self._wake_signal.setblocking(False)
        self._on_signal.setblocking(False)
        signal.set_wakeup_fd(self._on_signal.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        self._selector.register(self._wake_signal, selectors.EVENT_READ, self._on_woken)

    def _on_stop(self, _number: int, _frame: object) -> None:
        self._stop = True

    def _on_woken(self, _events: int, _now: float) -> None:
        self._wake_signal.recv(64)


def main(
    run_dir: Path,
    state_dir: Path,
    workers: int,
    max_connections: int,
    access_log: Path | None = None,
    drain: float = 0.0,
) -> int:
    """Run steering; return the exit status. `workers` 0: one relay worker for each core.

    `drain` is how many seconds live connections get when it is stopped; then they are reset.
    """
    try:
        if access_log is not None:
            AccessLog(access_log).close()  # an error is told once here, not by each relay worker
        supervisor = Supervisor(
            run_dir,
            state_dir,
            workers or len(os.sched_getaffinity(0)),
            max_connections,
            access_log,
        )
    except (SocketTaken, OSError) as error:
        logger.error("cannot start steering: %s", error)
        return 1
    supervisor.run(drain)
    return 0
