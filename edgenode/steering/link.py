"""Control's end of steering's socket, for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgenode.steering.report import FAILURES, Report
from edgenode.steering.table import Table
from edgenode.steering.tabledelta import diff

_FIRST_DELAY, _LAST_DELAY = 0.1, 2.0  # seconds between attempts to connect
_LONGEST = 64 << 20

logger = logging.getLogger("edgenode.control.steering")


class SteeringLink:
    """Keeps a connection to steering, and hands it the newest table.

    On a connection the first table goes whole, and then what each next one changes, if steering
    has said that it takes that.

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
        self.on_failures: Callable[[Sequence[str]], None] | None = None
        """What has just failed users' connections, told at once: targets ("region/worker"), and
        regions ("region") of which none has answered since."""
        self._path = path
        self._table: Table | None = None
        self._sent: Table | None = None  # on this connection: what the next delta starts from
        self._takes_deltas = False
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
        sending.add_done_callback(lambda _: writer.close())  # a fault in it must not go unseen
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
                writer.write(await self._next_message(self._table))
                await writer.drain()

    async def _next_message(self, table: Table) -> bytes:
        before, self._sent = self._sent, table
        if before is not None and self._takes_deltas:
            return _encoded({"type": "delta", "delta": diff(before, table)})
        # In a thread: a table of many thousands of targets would stop the event loop for long.
        return await asyncio.to_thread(
            lambda: _encoded({"type": "table", "table": table.to_json(), "wants": [FAILURES]})
        )

    def _receive(self, line: bytes) -> None:
        match _parse(line):
            case Report() as report:
                self.report = report
                if self.on_report is not None:
                    self.on_report(report)
            case {"type": "applied", "revision": int(revision), **more}:
                self.applied = revision
                self._takes_deltas = more.get("deltas") is True
            case {"type": "whole"}:
                self._send_whole()
            case {"type": "failures", "targets": list(targets)}:
                if self.on_failures is not None:
                    self.on_failures([name for name in targets if isinstance(name, str)])
            case {"type": "refused", "reason": str(reason), "revision": revision}:
                self.refusal = reason
                self._sent = None  # it has still what it had before
                logger.error("steering refuses table %s: %s", revision, reason)
            case _:
                # Steering may be older or newer than control; the rest is understood.
                logger.warning("steering on %s: not understood: %.200r", self._path, line)

    def _send_whole(self) -> None:
        """Steering lacks what a delta starts from."""
        self._sent = None
        self._changed.set()

    def _set_connected(self, connected: bool) -> None:
        self.connected = connected
        self._sent = None
        self._takes_deltas = False
        if not connected:
            self.report = None
            self.applied = None
        if self.on_connected is not None:
            self.on_connected(connected)


def _encoded(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _parse(line: bytes) -> object:
    """The message; None if it is none, or a report that cannot be read."""
    try:
        message = json.loads(line)
        return Report.from_json(message) if message["type"] == "report" else message
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
