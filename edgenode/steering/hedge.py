"""When a second attempt races one that is late, and how many may. Pure: seconds are passed in.

An attempt is late when it has not been answered for longer than is usual in its region. The rule is
that of a TCP sender's timeout (RFC 6298 section 2): the smoothed connect time and four times its
mean deviation. Where nothing is known yet, it is RFC 8305's "connection attempt delay".

A region that dies makes every attempt late at once. So races are paid for from a budget, as
retries are in Finagle: a share of the connections, and a floor for services that have few.
"""

from __future__ import annotations

UNKNOWN = 0.25
"""Seconds after which an attempt is late of which nothing is known; RFC 8305 section 5."""

LATE_IN_A_ROW = 3
"""Late attempts, with no answer since the first of them began, that show who is silent."""

_MARGIN = 0.005  # seconds: a busy node's own delays
_SPREAD = 1 / 4  # of what is usual: a path whose deviation has not shown yet
_SAVED = 10.0  # seconds of the floor that are saved up


def patience(usual: float | None, deviation: float) -> float:
    """Seconds after which an attempt is late."""
    if usual is None:
        return UNKNOWN
    return usual + max(4.0 * deviation, usual * _SPREAD, _MARGIN)


class Budget:
    """Tokens of one service in one relay worker: one for each attempt beside the first.

    Each connection brings `share` of one, each second `floor`. What is saved up is bounded, so that
    a quiet hour does not pay for a storm.
    """

    def __init__(self, share: float, floor: float, now: float) -> None:
        self._share = share
        self._floor = floor
        self._most = max(1.0, floor * _SAVED)
        self._tokens = self._most if floor else 0.0
        self._at = now

    def earn(self, now: float) -> None:
        """A connection has come."""
        self._add(self._share, now)

    def allows(self, now: float) -> bool:
        """Whether there is enough for a race."""
        self._add(0.0, now)
        return self._tokens >= 1.0

    def spend(self) -> None:
        """Pay for a race, or for a retry, which needs no leave: what is not there is not owed."""
        self._tokens = max(0.0, self._tokens - 1.0)

    def _add(self, tokens: float, now: float) -> None:
        tokens += self._tokens + (now - self._at) * self._floor
        self._tokens, self._at = min(self._most, tokens), now
