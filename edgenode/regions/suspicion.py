"""Suspicion: a target has not answered for much longer than usual. Pure; times in seconds.

It is no verdict, and the time-outs stay what they are: latency must make nobody down and no service
unreachable. A suspect is like what drains: it serves only where nothing else is healthy. One lost
packet means nothing: a second probe has to stay unanswered, too. A false alarm makes the next one
need one probe more, so that tables do not come and go with a way that loses packets.
"""

from __future__ import annotations

from math import inf

from edgenode.config import RegionProbe

LEAST = 0.1
"""Share of the interval that an answer may take at least."""

MOST = 0.19
"""Share that it may take at most, where the target is not too far for it: probes are up to 1.1
intervals apart, and two such waits later 1.5 intervals since a death are not over."""

OF_TIMEOUT = 0.4
"""Share of the time-out, likewise: two waits are over before it."""

USUAL, FAR = 3.0, 1.5
"""How many times the usual round-trip it may take; and how many it may where that is too long for
the shares above. With less nobody is suspected."""

SPARE = 0.05
"""In addition to the round-trips: schedulers and queues on both sides."""

UNANSWERED = 2
"""Probes without an answer that make a suspect, if there was no false alarm."""

ALARMS = 3
"""False alarms that count at most."""

FORGIVEN = 100
"""Intervals after which one of them counts no more."""


def patience(usual: float, probe: RegionProbe) -> float | None:
    """How long to wait for an answer before asking again; None: until the time-out.

    `usual`: the smoothed round-trip time.
    """
    far = FAR * usual + SPARE
    wanted = max(LEAST * probe.interval, USUAL * usual + SPARE)
    most = min(max(MOST * probe.interval, far), OF_TIMEOUT * probe.timeout)
    return min(wanted, most) if most >= far else None


class Suspicion:
    """What is suspected of one target."""

    def __init__(self) -> None:
        self.reason = ""
        """Why it is a suspect; empty: it is none."""
        self._wait = 0.0
        self._unanswered = 0
        self._since = 0.0
        self._alarms = 0
        self._alarm_at = -inf
        self._forgiven_after = inf

    def sent(self, now: float, usual: float, probe: RegionProbe) -> float | None:
        """A probe is out: when to call `overdue` unless there is an answer; None: not at all."""
        wait = patience(usual, probe)
        if wait is None:
            return None
        self._wait, self._unanswered = wait, 1
        self._forgiven_after = FORGIVEN * probe.interval
        if not self.reason:
            self._since = now
        return now + wait

    def overdue(self, now: float) -> tuple[bool, float]:
        """There is no answer yet: whether this makes it a suspect, and when to call this again.

        The caller sends one more probe now, of a suspect in order to hear soon that it is well.
        """
        before = bool(self.reason)
        if before or self._unanswered >= UNANSWERED + self._false_alarms(now):
            self.reason = f"no answer for {now - self._since:.1f} s"
            self._wait *= 2  # as TCP does; there is no use in more
        self._unanswered += 1
        return bool(self.reason) is not before, now + self._wait

    def answered(self, now: float) -> bool:
        """Whether this ends a suspicion, which was a false alarm then."""
        if not self.reason:
            return False
        self._alarms = min(self._false_alarms(now) + 1, ALARMS)
        self._alarm_at = now
        self.reason = ""
        return True

    def confirmed(self) -> None:
        """It is down: no suspicion any more."""
        self.reason = ""

    def _false_alarms(self, now: float) -> int:
        """Those that still count."""
        if not self._alarms:
            return 0
        return max(0, self._alarms - int((now - self._alarm_at) / self._forgiven_after))
