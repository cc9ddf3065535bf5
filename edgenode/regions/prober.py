"""Probes every target on its own schedule, and keeps what is known of each."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from types import MappingProxyType

from edgenode.health.lag import StallMeter, was_late
from edgenode.health.risefall import RiseFall, State
from edgenode.health.schedule import first_probe, next_probe
from edgenode.regions.followups import FollowUps
from edgenode.regions.probe import probe
from edgenode.regions.ranking import States, TargetState
from edgenode.regions.registry import Registry, Target, TargetKey
from edgenode.regions.rtt import Rtt, smooth
from edgenode.regions.suspicion import Suspicion
from edgenode.steering.table import Bind

JITTER = 0.1
"""Share of the interval, so that the edges' probes do not meet at a worker."""

CONFIRM = 0.2
"""Share of the interval in which a target that fails is probed as often as it takes to be sure.

With the jitter, what died just after a probe is known to be dead 1.3 intervals later, where it
refuses, and after its time-outs in addition where it is silent; long before, it is a suspect. One
that nothing is known of is looked at in the same way."""

HURRY = 0.05
"""Seconds between two probes of a target that fails users and has failed a probe. One that answers
is probed again after `CONFIRM` at the earliest, however many users it fails."""

MATES = 16
"""How many others of a region are probed at once when one goes down or is suspected: regions die as
a whole. Those that are found dead bring more into question."""

Clock = Callable[[], float]
OnChange = Callable[[TargetKey], None]


class Prober:
    """Calls `on_change` after each target that came up, went down, or became a suspect or none."""

    def __init__(
        self, registry: Registry, on_change: OnChange, clock: Clock = time.monotonic
    ) -> None:
        self._on_change = on_change
        self._clock = clock
        self._stalls = StallMeter(clock)
        self._watches: dict[TargetKey, _Watch] = {}
        self._states: dict[TargetKey, TargetState] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self.take(registry)

    @property
    def states(self) -> States:
        """What is known of each target: a view that follows what is found."""
        return MappingProxyType(self._states)

    def take(self, registry: Registry) -> None:
        """Probe the targets of a registry: those that were probed in the same way go on."""
        before, self._watches = self._watches, {}
        self._states = {}
        for target in registry.targets:
            watch = before.get(target.key)
            if watch is None or not watch.looks_at(target, registry.bind):
                watch = _Watch(target, registry.bind, self._clock, self._stalls)
            else:
                del before[target.key]
            self._watches[target.key] = watch
            self._states[target.key] = watch.snapshot()
            self._start(watch)
        for gone in before.values():
            gone.stop()
        self._regions: dict[str, list[_Watch]] = {}
        for key, watch in self._watches.items():
            self._regions.setdefault(key.region, []).append(watch)

    def take_over(self, before: Prober) -> None:
        """Go on with what another prober knows of the targets that are probed as before."""
        for key, watch in self._watches.items():
            if (known := before._watches.get(key)) and known.looks_at(watch.target, watch.bind):
                watch.adopt(known)
                self._states[key] = watch.snapshot()

    def probe_soon(self, key: TargetKey) -> None:
        """Probe a target ahead of its schedule. Unknown targets are passed over."""
        if key in self._watches:
            self._watches[key].hurry.set()

    def region_silent(self, region: str) -> None:
        """Users get no answer from there: a probe that gets none either counts twice."""
        for watch in self._regions.get(region, ()):
            watch.accused = True
            watch.hurry.set()

    async def run(self) -> None:
        """Probe until cancelled."""
        self._stalls.start()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for watch in self._watches.values():
                    self._start(watch)
                # Workers may all be gone for a while: the group is there for those to come.
                await asyncio.Event().wait()
        finally:
            self._tasks = None
            for watch in self._watches.values():
                watch.task = None
            self._stalls.stop()

    def _start(self, watch: _Watch) -> None:
        if self._tasks is not None and watch.task is None:
            watch.task = self._tasks.create_task(watch.run(self._on_look))

    def _on_look(self, watch: _Watch, changed: bool) -> None:
        key = watch.target.key
        if self._watches.get(key) is watch:
            self._states[key] = watch.snapshot()
            if changed:
                self._on_change(key)
                if self._states[key].state is State.DOWN or self._states[key].suspect:
                    mates = self._regions[key.region]
                    for mate in random.sample(mates, min(MATES, len(mates))):
                        mate.hurry.set()


class _Watch:
    """One target: its schedule, its state, its distance."""

    def __init__(self, target: Target, bind: Bind, clock: Clock, stalls: StallMeter) -> None:
        self.target = target
        self.bind = bind
        self.hurry = asyncio.Event()
        self.accused = False
        """Users had no answer either, since the last probe began or before."""
        self.task: asyncio.Task[None] | None = None
        self._clock = clock
        self._stalls = stalls
        times = target.probe
        self._risefall = RiseFall(str(target.key), times.rise, times.fall, clock())
        self._rtt: Rtt | None = None
        self._answered = clock()
        self._suspicion = Suspicion()
        self._on_look: Callable[[_Watch, bool], None] = lambda watch, changed: None

    def looks_at(self, target: Target, bind: Bind) -> bool:
        """Whether a target would be probed in the same way."""
        mine = self.target
        return (mine.endpoint, mine.probe, self.bind) == (target.endpoint, target.probe, bind)

    def adopt(self, other: _Watch) -> None:
        """Take what another one knows. It must have ended, or end now."""
        self._risefall = other._risefall
        self._rtt = other._rtt
        self._answered = other._answered
        self._suspicion = other._suspicion

    def stop(self) -> None:
        """Probe no more."""
        if self.task is not None:
            self.task.cancel()

    def snapshot(self) -> TargetState:
        verdict = self._risefall.verdict
        smoothed = self._rtt.smoothed if self._rtt else None
        return TargetState(
            verdict.state,
            smoothed,
            verdict.reason,
            verdict.since,
            self._answered,
            suspect=self._suspicion.reason,
        )

    async def run(self, on_look: Callable[[_Watch, bool], None]) -> None:
        self._on_look = on_look
        follow_ups = FollowUps(
            self._suspicion, self._ask_again, self._overdue, self._clock, self._stalls
        )
        interval = self.target.probe.interval
        again = CONFIRM * interval / max(1, self.target.probe.rise - 1, self.target.probe.fall - 1)
        origin = due = first_probe(self._clock(), interval, random.random())
        earliest = self._clock()
        while True:
            await self._until(due, earliest)
            started = self._clock()
            on_look(self, await self._look(follow_ups))
            due = next_probe(origin, interval, JITTER, self._clock(), random.random())
            earliest = started + again
            in_doubt = self._risefall.in_doubt or bool(self._suspicion.reason)
            if in_doubt and self._risefall.state is not State.DOWN:
                due = min(due, earliest)
                earliest = started + min(again, HURRY)

    async def _until(self, due: float, earliest: float) -> None:
        """Wait until it is due, or until somebody is in a hurry, but not less than `earliest`."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(max(0.0, due - self._clock()), self.hurry.set)
        try:
            await self.hurry.wait()
            if (early := earliest - self._clock()) > 0:
                await asyncio.sleep(early)
        finally:
            timer.cancel()
        self.hurry.clear()

    async def _look(self, follow_ups: FollowUps) -> bool:
        """Probe once; whether the state changed."""
        timeout = self.target.probe.timeout
        stalled = self._stalls.total()
        if self._rtt is not None and self._risefall.state is State.UP:
            follow_ups.sent(self._rtt.smoothed, self.target.probe)
        try:
            observation, rtt = await probe(self.target.endpoint, self.bind, timeout)
        except OSError:
            return False  # our own fault: says nothing about the target
        finally:
            follow_ups.over()
        if was_late(observation, self._stalls.total() - stalled, timeout):
            return False
        if rtt is not None:
            self._rtt = smooth(self._rtt, rtt)
        accused, self.accused = self.accused, False
        verdict = self._risefall.observe(observation.ok, self._clock(), observation.reason)
        if accused and not observation.ok and verdict is None:
            verdict = self._risefall.observe(False, self._clock(), observation.reason)
        cleared = observation.ok and self._answers()
        if verdict is not None and verdict.state is State.DOWN:
            self._rtt = None  # the way may be another one when it heals
            self._suspicion.confirmed()
        return verdict is not None or cleared

    def _overdue(self, suspected: bool) -> None:
        self._on_look(self, suspected)

    async def _ask_again(self) -> bool:
        """Whether it answers now decides nothing but whether it is a suspect."""
        try:
            observation, _ = await probe(self.target.endpoint, self.bind, self.target.probe.timeout)
        except OSError:
            return False
        if observation.ok:
            self._on_look(self, self._answers())
        return observation.ok

    def _answers(self) -> bool:
        """It has answered; whether a suspicion ends by it."""
        if self._risefall.state is not State.DOWN:
            self._answered = self._clock()
        return self._suspicion.answered(self._clock())
