"""The simulated world with probes that take their time: each target on its own schedule.

Schedule, suspicion, verdicts, ranking and tables are the real ones; what the prober does with
sockets and timers is done here with a queue of events. Intervals and time-outs are 1 s.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random

from edgenode.config import RegionProbe
from edgenode.health.risefall import State
from edgenode.health.schedule import first_probe, next_probe
from edgenode.regions.prober import CONFIRM, JITTER
from edgenode.regions.registry import TargetKey
from edgenode.regions.rtt import smooth
from tests.unit.regions.simulation import World

PROBE = RegionProbe()


class Silence(World):
    """`loss`: share of probes that get no answer though the target is well; `queues`: of those
    that take five times as long."""

    def __init__(self, rng: Random, loss: float = 0.0, queues: float = 0.0) -> None:
        super().__init__(rng)
        self.loss = loss
        self.queues = queues
        self.tables = 0
        self.alarms = 0
        self.uplink = True
        """Our own: while it is away nobody is heard."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._known: list[tuple[State, str]] = []
        self._looked = 0.0
        self._probe: dict[TargetKey, int] = {}
        """The number of the last probe of each; what belongs to another is over."""
        for key in self.risefalls:
            self._at(
                first := first_probe(0.0, PROBE.interval, rng.random()), self._send, key, first
            )

    def run(self, until: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Go on until that time, or until something is so."""
        while self._events and self._events[0][0] <= until and not stop():
            self.now, _, event = heappop(self._events)
            revision = self.table.revision if self.table else 0
            event()
            known = [(f.state, self.suspicions[key].reason) for key, f in self.risefalls.items()]
            if known != self._known or self.now >= self._looked + 1:
                self._known, self._looked = known, self.now
                self.publish()
            self.tables += self.table is not None and self.table.revision != revision
        if not stop():
            self.now = until

    def serves(self, region: str, service: int = 0) -> bool:
        """Whether new connections may go there."""
        assert self.table is not None
        return any(one.region == region for one in self.table.services[service].regions)

    def _at(self, when: float, what: Callable[..., None], *arguments: object) -> None:
        heappush(self._events, (when, next(self._order), lambda: what(*arguments)))

    def _answer(self, key: TargetKey) -> float | None:
        """How long it takes; None: there is none."""
        if key.region in self.dead or not self.uplink or self.rng.random() < self.loss:
            return None
        distance = self.distances[key.region] * (1 + 0.1 * self.rng.random())
        return distance * (5 if self.rng.random() < self.queues else 1)

    def _send(self, key: TargetKey, origin: float) -> None:
        number = self._probe[key] = self._probe.get(key, 0) + 1
        rtt = self.rtts[key]
        if rtt is not None and self.risefalls[key].state is State.UP:
            due = self.suspicions[key].sent(self.now, rtt.smoothed, PROBE)
            if due is not None:
                self._at(due, self._overdue, key, number)
        takes = self._answer(key)
        if takes is not None and takes < PROBE.timeout:
            self._at(self.now + takes, self._over, key, origin, self.now, takes)
        else:
            self._at(self.now + PROBE.timeout, self._over, key, origin, self.now, None)

    def _overdue(self, key: TargetKey, number: int) -> None:
        if self._probe[key] != number:
            return
        suspected, due = self.suspicions[key].overdue(self.now)
        self.alarms += suspected
        self._at(due, self._overdue, key, number)
        if (takes := self._answer(key)) is not None:
            self._at(self.now + takes, self._answered, key, number)

    def _answered(self, key: TargetKey, number: int) -> None:
        if self._probe[key] == number:
            self._probe[key] += 1
            self.suspicions[key].answered(self.now)

    def _over(self, key: TargetKey, origin: float, began: float, rtt: float | None) -> None:
        self._probe[key] += 1
        risefall = self.risefalls[key]
        if rtt is not None:
            self.rtts[key] = smooth(self.rtts[key], rtt)
            self.suspicions[key].answered(self.now)
        verdict = risefall.observe(rtt is not None, self.now, "")
        if verdict is not None and verdict.state is State.DOWN:
            self.rtts[key] = None
            self.suspicions[key].confirmed()
        due = next_probe(origin, PROBE.interval, JITTER, self.now, self.rng.random())
        if risefall.in_doubt and risefall.state is not State.DOWN:
            due = max(self.now, min(due, began + CONFIRM * PROBE.interval))
        self._at(due, self._send, key, origin)
