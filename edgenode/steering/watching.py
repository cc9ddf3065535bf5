"""Steering's reports, straight from its socket: control need not be there."""

from __future__ import annotations

import errno
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from edgenode.steering.report import Report

PATIENCE = 5.0
"""Seconds without a report, of which one is due each second, after which steering hangs."""

_CLEAR = {
    errno.ENOENT: "is it running?",
    errno.ECONNREFUSED: "is it running?",
    errno.EACCES: "run this as root, or as a member of steering's group",
}


class SteeringAway(Exception):
    """There is nobody to ask, or no answer; the text says where, and what to do."""


class Reports:
    """The reports as they come, about one a second. Raises SteeringAway, now and at each step.

    The first is the present one.
    """

    def __init__(self, path: Path, patience: float = PATIENCE) -> None:
        self._path = path
        self._patience = patience
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(patience)
        try:
            self._socket.connect(str(path))
            self._socket.sendall(b'{"type": "status"}\n')
        except OSError as error:
            self._socket.close()
            raise self._away(error) from None
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Reports:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.close()
        self._socket.close()

    def __iter__(self) -> Iterator[Report]:
        until = time.monotonic() + self._patience
        while True:
            try:
                line = self._lines.readline()
            except OSError as error:
                raise self._away(error) from None
            if not line:
                raise SteeringAway(f"edgenode steering has closed {self._path}: it has ended")
            report = self._read(line)
            if report is not None:
                yield report
                until = time.monotonic() + self._patience
            elif time.monotonic() >= until:
                raise self._away(TimeoutError())

    def _read(self, line: bytes) -> Report | None:
        """None: it is another message, such as one about targets that have failed."""
        try:
            message = json.loads(line)
            return Report.from_json(message) if message["type"] == "report" else None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SteeringAway(
                f"edgenode steering on {self._path} says what is not understood ({error!r}):"
                " it is of another version"
            ) from None

    def _away(self, error: OSError) -> SteeringAway:
        if isinstance(error, TimeoutError):
            return SteeringAway(
                f"edgenode steering on {self._path} has not answered for {self._patience:g} s:"
                " it hangs (systemctl status edgenode-steering)"
            )
        clear = _CLEAR.get(error.errno or 0, "see its log")
        return SteeringAway(f"edgenode steering on {self._path}: {error.strerror}; {clear}")
