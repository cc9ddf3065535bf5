"""Control's end of steering's socket, for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from edgenode.steering.report import Report
from edgenode.steering.table import Table

_FIRST_DELAY, _LAST_DELAY = 0.1, 2.0  # seconds between attempts to connect
_LONGEST = 64 << 20

logger = logging.getLogger("edgenode.control.steering")


class SteeringLink:
    """Keeps a connection to steering, and hands it the newest table.

    `connected`: whether steering is there. `report`: its latest report, None while it is away.
    `applied`: the revision that it has confirmed since it was last connected. `refusal`: why it
    has refused the newest table, None if it has not. The callbacks are optional.
    """

    def __init__(self, path: Path) -> None:
        self.connected = False
        self.report: Report | None = None
        self.applied: int | None = None
        self.refusal: str | None = None
        self.on_report: Callable[[Report], None] | None = None
        self.on_connected: Callable[[bool], None] | None = None
        self._path = path
        self._table: Table | None = None
        self._changed = asyncio.Event()

    def publish(self, table: Table) -> None:
        """Hand over a table, now or when steering is there; only the newest counts."""
        self._table = table
        self._changed.set()

    async def run(self) -> None:
        """Stay connected, until cancelled."""
        delay = _FIRST_DELAY
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path, limit=_LONGEST)
            except OSError:
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LAST_DELAY)
                continue
            delay = _FIRST_DELAY
            try:
                await self._talk(reader, writer)
            finally:
                writer.close()
                self._set_connected(False)
            await asyncio.sleep(delay)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        self._set_connected(True)
        self._changed.set()  # a steering that was restarted may have an older table
        sending = asyncio.create_task(self._send(writer))
        try:
            while line := await reader.readline():
                self._receive(line)
        except (OSError, ValueError) as error:
            logger.warning("steering on %s: %s; connecting anew", self._path, error)
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await sending

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._table is not None:
                self.refusal = None
                message = {"type": "table", "table": self._table.to_json()}
                writer.write(json.dumps(message).encode() + b"\n")
                await writer.drain()

    def _receive(self, line: bytes) -> None:
        match _parse(line):
            case Report() as report:
                self.report = report
                if self.on_report is not None:
                    self.on_report(report)
            case {"type": "applied", "revision": int(revision)}:
                self.applied = revision
            case {"type": "refused", "reason": str(reason), "revision": revision}:
                self.refusal = reason
                logger.error("steering refuses table %s: %s", revision, reason)
            case _:
                # Steering may be older or newer than control; the rest is understood.
                logger.warning("steering on %s: not understood: %.200r", self._path, line)

    def _set_connected(self, connected: bool) -> None:
        self.connected = connected
        if not connected:
            self.report = None
            self.applied = None
        if self.on_connected is not None:
            self.on_connected(connected)


def _parse(line: bytes) -> object:
    """The message; None if it is none, or a report that cannot be read."""
    try:
        message = json.loads(line)
        return Report.from_json(message) if message["type"] == "report" else message
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
