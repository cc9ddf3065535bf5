"""What the end of a tripwire means. Pure: events and the time come in, the next step goes out.

A tripwire is an idle connection held to a proxy. Its end proves nothing by itself (proxies close
idle connections, and hand their socket over when they restart), so that a new connection is tried
at once. It is refused: nobody listens, the service is down. It succeeds: nothing happened, and the
new connection is the next tripwire. That last point matters when a proxy of many processes dies:
the first to go ends the tripwire while the others still hold the listener, and only an end of the
*new* connection, a millisecond later, tells that they followed.

Times are seconds of the monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass

RENEW = 30.0
"""Seconds after which a tripwire is replaced. An old generation of a proxy that lives on only for
its last connections would else be watched instead of the new one, and be kept from ending by us."""

CALM = 1.0
"""Seconds that a tripwire must have held for its end to be nothing unusual."""

AT_ONCE = 4
"""Ends in a row that are looked into without a pause. A dying proxy of a few processes takes two or
three: its kernel closes connections before listeners, and one process after the other."""

FIRST_PAUSE = 0.001
LONGEST_PAUSE = 5.0
"""Between tries where still more tripwires end quickly, doubling: no storm of connections to a
proxy that closes each at once. The pauses start small since a dying proxy of many processes looks
like this as well; so its end is still seen after at most twice the time that it took to die."""

FIRST_RETRY = 0.01
LONGEST_RETRY = 0.1
"""Between tries while a restart is waited out."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Try to connect now, and tell which: `connected`, `refused` or `undecided`."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for so many seconds, unless the held connection ends; then `Connect`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Down:
    """It is proved that nobody listens. The tripwire rests until it is armed again."""

    reason: str


Step = Connect | Pause | Down


class Tripwire:
    """The decisions of one tripwire. `restart_grace`: seconds for which a refusal is waited out."""

    def __init__(self, restart_grace: float) -> None:
        self._restart_grace = restart_grace
        self._held_since = 0.0
        self._quick_ends = 0
        self._refused_since: float | None = None
        self._retry = FIRST_RETRY

    @property
    def waits_out_restart(self) -> bool:
        """Whether connections are being refused and the grace is not over."""
        return self._refused_since is not None

    def arm(self) -> Step:
        """Begin, from whatever was before."""
        self._quick_ends = 0
        self._refused_since = None
        return Connect()

    def connected(self, now: float) -> Step:
        """A new connection stands: it is the tripwire from now on."""
        self._held_since = now
        self._refused_since = None
        return Pause(RENEW)

    def ended(self, now: float) -> Step:
        """The held connection ended: EOF, RST, an error."""
        if now - self._held_since >= CALM:
            self._quick_ends = 0
        return self._again()

    def undecided(self) -> Step:
        """Neither connected nor refused (time is over, no route, no descriptor): not our call.

        A proxy that hangs, or is unreachable, is the polls' business.
        """
        self._refused_since = None
        self._quick_ends = max(self._quick_ends, AT_ONCE)
        return self._again()

    def refused(self, now: float, reason: str) -> Step:
        """The connection was refused."""
        if self._refused_since is None:
            self._refused_since = now
            self._retry = FIRST_RETRY
        left = self._refused_since + self._restart_grace - now
        if left <= 0:
            self._refused_since = None
            waited = f", for {self._restart_grace:g} s now" if self._restart_grace else ""
            return Down(reason + waited)
        pause = min(self._retry, left)
        self._retry = min(self._retry * 1.5, LONGEST_RETRY)
        return Pause(pause)

    def _again(self) -> Step:
        quick_ends = self._quick_ends
        self._quick_ends += 1
        if quick_ends < AT_ONCE:
            return Connect()
        return Pause(min(FIRST_PAUSE * 2 ** min(quick_ends - AT_ONCE, 30), LONGEST_PAUSE))
