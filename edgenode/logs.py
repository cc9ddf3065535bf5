"""Logging to standard error that never makes anybody wait.

Whoever reads standard error may hang: a full pipe would stop the thread that logs, and with it a
withdraw or a heartbeat. So a thread of its own writes, behind a queue that drops when it is full.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
import threading
import time

_QUEUE = 10_000


class _Dropping(logging.handlers.QueueHandler):
    """Counts what does not fit, and says so once there is room again."""

    def __init__(self, lines: queue.Queue[logging.LogRecord]) -> None:
        super().__init__(lines)
        self.lines = lines
        self.dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self.dropped:
                count, name, level = self.dropped, "edgenode.logs", logging.WARNING
                text = f"{count} lines were dropped: standard error was not read"
                self.lines.put_nowait(logging.LogRecord(name, level, "", 0, text, None, None))
                self.dropped = 0
            self.lines.put_nowait(record)
        except queue.Full:
            self.dropped += 1


def to_stderr(verbose: bool) -> None:
    """One line an event: time (UTC), level, room, text."""
    formatter = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(formatter)
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_QUEUE)

    def write() -> None:
        while True:
            output.handle(lines.get())
            lines.task_done()

    # A daemon: the end of the process does not wait for a reader that hangs.
    threading.Thread(target=write, name="log", daemon=True).start()
    level = logging.DEBUG if verbose else logging.INFO
    root = logging.getLogger()
    root.setLevel(level)
    # Not basicConfig: it gives the queue a formatter of its own, and each line is formatted twice.
    root.addHandler(_Dropping(lines))
    for noisy in ("pyroute2", "aiohttp", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def one_line(text: str) -> str:
    """Text of others (a check's output) as one line of a log, with nothing for a terminal in it."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def flush(timeout: float = 1.0) -> None:
    """Give what is queued `timeout` seconds to be written."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Dropping):
            end = time.monotonic() + timeout
            while handler.lines.unfinished_tasks and time.monotonic() < end:
                time.sleep(0.01)
