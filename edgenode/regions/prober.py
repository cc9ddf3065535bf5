"""Probes every target on its own schedule, and keeps what is known of each."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from types import MappingProxyType

from edgenode.health.lag import StallMeter, was_late
from edgenode.health.risefall import RiseFall, State
from edgenode.health.schedule import first_probe, next_probe
from edgenode.regions.probe import probe
from edgenode.regions.ranking import States, TargetState
from edgenode.regions.registry import Registry, Target, TargetKey
from edgenode.regions.rtt import Rtt, smooth
from edgenode.steering.table import Bind

JITTER = 0.1
"""Share of the interval, so that the edges' probes do not meet at a worker."""

Clock = Callable[[], float]


class Prober:
    """Calls `on_change` after each target that came up or went down."""

    def __init__(
        self,
        registry: Registry,
        on_change: Callable[[TargetKey], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self._on_change = on_change
        self._clock = clock
        self._stalls = StallMeter(clock)
        self._watches: dict[TargetKey, _Watch] = {}
        self._tasks: dict[TargetKey, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        """While it runs."""
        self.take(registry)

    @property
    def states(self) -> States:
        """What is known of each target at this moment."""
        return MappingProxyType({key: watch.snapshot() for key, watch in self._watches.items()})

    def take_over(self, before: Prober) -> None:
        """Go on with what another prober knows of the targets that are probed as before."""
        for key, watch in self._watches.items():
            if (known := before._watches.get(key)) and known.looks_at(watch):
                watch.adopt(known)

    def take(self, registry: Registry) -> None:
        """Probe these targets from now on. What is probed as before goes on undisturbed."""
        before = self._watches
        self._watches = {}
        for target in registry.targets:
            watch = _Watch(target, registry.bind, self._clock, self._stalls)
            if (known := before.get(target.key)) and known.looks_at(watch):
                watch = known
            self._watches[target.key] = watch
        for key, watch in before.items():
            if self._watches.get(key) is not watch and (task := self._tasks.pop(key, None)):
                task.cancel()
        self._start()

    def probe_soon(self, key: TargetKey) -> None:
        """Probe a target now, in addition to its schedule. Unknown targets are passed over."""
        if key in self._watches:
            self._watches[key].hurry.set()

    async def run(self) -> None:
        """Probe until cancelled."""
        self._stalls.start()
        try:
            async with asyncio.TaskGroup() as self._group:
                self._start()
                await asyncio.get_running_loop().create_future()  # targets may come at any time
        finally:
            self._group = None
            self._tasks.clear()
            self._stalls.stop()

    def _start(self) -> None:
        """Every target that is not probed yet."""
        if self._group is None:
            return
        for key, watch in self._watches.items():
            if key not in self._tasks:
                self._tasks[key] = self._group.create_task(watch.run(self._on_change))


class _Watch:
    """One target: its schedule, its state, its distance."""

    def __init__(self, target: Target, bind: Bind, clock: Clock, stalls: StallMeter) -> None:
        self.hurry = asyncio.Event()
        self._target = target
        self._bind = bind
        self._clock = clock
        self._stalls = stalls
        times = target.probe
        self._risefall = RiseFall(str(target.key), times.rise, times.fall, clock())
        self._rtt: Rtt | None = None
        self._answered = clock()

    def looks_at(self, other: _Watch) -> bool:
        """Whether the same target is probed, in the same way."""
        mine, others = self._target, other._target
        return (mine.key, mine.endpoint, mine.probe, self._bind) == (
            *(others.key, others.endpoint, others.probe),
            other._bind,
        )

    def adopt(self, other: _Watch) -> None:
        """Take what another one knows. It must have ended, or end now."""
        self._risefall = other._risefall
        self._rtt = other._rtt
        self._answered = other._answered

    def snapshot(self) -> TargetState:
        verdict = self._risefall.verdict
        smoothed = self._rtt.smoothed if self._rtt else None
        return TargetState(verdict.state, smoothed, verdict.reason, verdict.since, self._answered)

    async def run(self, on_change: Callable[[TargetKey], None]) -> None:
        interval = self._target.probe.interval
        origin = due = first_probe(self._clock(), interval, random.random())
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - self._clock())):
                    await self.hurry.wait()
            self.hurry.clear()
            if await self._look():
                on_change(self._target.key)
            due = next_probe(origin, interval, JITTER, self._clock(), random.random())

    async def _look(self) -> bool:
        """Probe once; whether the state changed."""
        timeout = self._target.probe.timeout
        stalled = self._stalls.total()
        try:
            observation, rtt = await probe(self._target.endpoint, self._bind, timeout)
        except OSError:
            return False  # our own fault: says nothing about the target
        if was_late(observation, self._stalls.total() - stalled, timeout):
            return False
        if rtt is not None:
            self._rtt = smooth(self._rtt, rtt)
        verdict = self._risefall.observe(observation.ok, self._clock(), observation.reason)
        if observation.ok and self._risefall.state is not State.DOWN:
            self._answered = self._clock()
        if verdict is not None and verdict.state is State.DOWN:
            self._rtt = None  # the way may be another one when it heals
        return verdict is not None
