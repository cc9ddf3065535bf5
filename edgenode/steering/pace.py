"""How long the relay's loop takes for its rounds. Pure; seconds."""

from __future__ import annotations


class Pace:
    """`worked` is told of each round, `taken` is asked now and then."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._busy = 0.0
        self._longest = 0.0

    def worked(self, seconds: float) -> None:
        """A round has taken so long, waiting apart."""
        self._busy += seconds
        if seconds > self._longest:
            self._longest = seconds

    def taken(self, now: float) -> tuple[float, float]:
        """The share of the time since the last call that rounds took, and the longest of them.

        An event that came at the beginning of that one had to wait for its end.
        """
        busy = min(1.0, self._busy / max(now - self._since, 1e-3))
        longest = self._longest
        self._since, self._busy, self._longest = now, 0.0, 0.0
        return busy, longest
