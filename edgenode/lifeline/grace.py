"""When the lifeline holds and when it lets go: a state machine without clock or I/O.

                 first beat                      owner closed, or silent for heartbeat_timeout
    RELEASED ───────────────────▶ BEATING ─────────────────────────────────────▶ GRACE
        ▲                          │ ▲  beat of a newer control: takes over        │ │
        │ device lost              │ └──────────────────── beat ───────────────────┘ │
        ├──────────────────────────┘                                                 │
        └───────────────────────── deadline passed, device lost ─────────────────────┘

Grace is an allowance, not a right: each loss of control uses up the time that it took, at least a
third of `grace`, and only `SETTLED` seconds without a loss fill it up again. A control that is
restarted or upgraded keeps the routes; one that crashes again and again loses them at the fourth
time in a row, however quickly it is back each time.
"""

from __future__ import annotations

from enum import Enum, auto

SETTLED = 60.0
"""Seconds of beats without a loss after which the full grace is granted again."""


class Phase(Enum):
    RELEASED = auto()
    BEATING = auto()
    GRACE = auto()


class Grace:
    """Who may hold the device, and until when. Times are seconds of one monotonic clock.

    Controls are numbers, a newer connection has a higher one. After each event and at `deadline`,
    `held` says whether the device is to be there.
    """

    def __init__(self, grace: float, heartbeat_timeout: float) -> None:
        self.phase = Phase.RELEASED
        self._grace = grace
        self._timeout = heartbeat_timeout
        self._allowance = grace
        self._owner = -1
        self._since = 0.0
        """When the present phase began; in BEATING: when the last loss was over."""
        self._until = 0.0

    @property
    def held(self) -> bool:
        return self.phase is not Phase.RELEASED

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._until if self.held else None

    def beat(self, control: int, now: float) -> None:
        """A heartbeat. One from a control that was taken over from does not count while the other
        is there.
        """
        self.tick(now)
        if self.phase is Phase.BEATING and control < self._owner:
            return
        if self.phase is Phase.GRACE:
            used = max(now - self._since, self._grace / 3)
            # A hair less than nothing left counts as nothing: three thirds must be a whole.
            self._allowance = self._allowance - used if self._allowance - used > 1e-6 else 0.0
        if self.phase is not Phase.BEATING:
            self._since = now
        self.phase = Phase.BEATING
        self._owner = control
        self._until = now + self._timeout

    def closed(self, control: int, now: float) -> None:
        """A control's connection has ended."""
        self.tick(now)
        if self.phase is Phase.BEATING and control == self._owner:
            self._lose(now)

    def device_lost(self) -> None:
        """The device was removed by someone else; the next beat may make it anew."""
        self._release()

    def tick(self, now: float) -> None:
        """Let time pass."""
        if self.phase is Phase.BEATING and now >= self._until:
            # The silence ended at the timeout, even if this process could only look now.
            self._lose(self._until)
        if self.phase is Phase.GRACE and now >= self._until:
            self._release()

    def _lose(self, now: float) -> None:
        if now - self._since >= SETTLED:
            self._allowance = self._grace
        self.phase = Phase.GRACE
        self._since = now
        self._until = now + self._allowance
        if self._allowance == 0:
            self._release()

    def _release(self) -> None:
        self.phase = Phase.RELEASED
        self._owner = -1
