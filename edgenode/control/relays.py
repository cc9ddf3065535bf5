"""Whether steering serves anybody, by its reports. Pure.

A check of a steered address does not tell: the kernel completes handshakes for a process that
hangs. A relay worker that hangs is replaced by its supervisor, with its users still in the queue;
here it is told when that does not help, or when the supervisor hangs itself.
"""

from __future__ import annotations

from edgenode.steering.report import Report

SILENT = 10.0
"""Seconds without a report, of which one is due each second."""
REPLACED = 1.5
"""Seconds that a relay worker takes to start, with some to spare."""
STEP = 1.5
"""Seconds that count at most between two rounds: where we were late ourselves, so were we in
reading the reports."""


class Relays:
    """`report` and `away` tell it what happens, `tick` that time passes."""

    def __init__(self) -> None:
        self.trouble = ""
        """Why users are not served, as a sentence; empty: as far as is known they are."""
        self._ticked: float | None = None
        self.away()

    def away(self) -> None:
        """There is no connection to steering: whether it serves is told by its checks alone.

        One that hung and was killed for it serves nobody yet: what was known of it holds until it
        reports again, or for as long as its checks may take to tell.
        """
        self._there = False
        self._silent = 0.0
        self._hung: float | None = None
        """Seconds for which no relay worker has been healthy."""

    def report(self, report: Report) -> None:
        """Steering has reported."""
        self._there = True
        self._silent = 0.0
        if not report.relays or any(relay.healthy for relay in report.relays):
            self._hung = None
            self.trouble = ""
        elif self._hung is None:
            self._hung = 0.0

    def tick(self, now: float) -> None:
        """A round of decisions is made at `now`, in seconds of the monotonic clock."""
        passed = 0.0 if self._ticked is None else min(now - self._ticked, STEP)
        self._ticked = now
        self._silent += passed
        if not self._there:
            if self._silent >= SILENT:
                self.trouble = ""
            return
        if self._hung is not None:
            self._hung += passed
        if self._silent >= SILENT:
            self.trouble = f"edgenode steering has not reported for {SILENT:g} s: it hangs"
        elif self._hung is not None and self._hung >= REPLACED:
            self.trouble = "no relay worker answers"
