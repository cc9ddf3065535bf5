"""The regions as control owns them: probes in, steering tables and reachability out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from edgenode.config import Config, Service
from edgenode.config.values import Address
from edgenode.health.risefall import State
from edgenode.regions import view
from edgenode.regions.evidence import ServiceStands
from edgenode.regions.prober import Clock, Prober
from edgenode.regions.publisher import Publisher, covers
from edgenode.regions.ranking import (
    PathProblem,
    States,
    path_problems,
    reachable,
    without,
)
from edgenode.regions.registry import Registry, TargetKey, from_config
from edgenode.regions.stands import Way, stands
from edgenode.steering.report import Report
from edgenode.steering.table import Bind, Table

LOOK_INTERVAL = 1.0
"""Seconds between two looks at the distances; health is acted upon at once."""

AT_MOST = 0.2
"""Share of the time that tables may take: when hundreds of workers die one by one, the first is
taken out at once and those that follow soon in one go."""


class Regions:
    """Start with `run()`. The callbacks are plain functions and must not block."""

    def __init__(
        self,
        config: Config,
        bind: Bind,
        on_table: Callable[[Table], None],
        on_reachability: Callable[[str, bool | None], None] = lambda service, is_reachable: None,
        *,
        last: Table | None = None,
        complete: bool = True,
        before: Regions | None = None,
        path_problem: PathProblem = lambda address: None,
        clock: Clock = time.monotonic,
    ) -> None:
        """`last`: the table in force before, of which the revision goes on (see Publisher).

        `before`: the regions of the configuration before, of which all goes on that did not change.
        Their `run` must have ended, or end now.

        `complete`: whether all workers are in the configuration that is given. If not, and `last`
        has others, that stays in force, and nothing is said of what can be reached, until `take`
        brings them.

        `on_reachability` gets each service's name when what `reachable` says has changed.

        `path_problem`: a worker behind a way that is no good is down. `look` when it changes.
        """
        self._registry = from_config(config, bind)
        self._services = {service.name: service for service in self._registry.services}
        self._clock = clock
        self._on_table = on_table
        self._on_reachability = on_reachability
        self._path_problem = path_problem
        self._prober = Prober(self._registry, lambda key: self._look.set(), clock)
        last = (before.table if before else None) or last
        self._complete = complete or last is None or covers(self._registry, last)
        self._publisher = Publisher(self._registry, clock(), last)
        if before is not None:
            self._prober.take_over(before._prober)
            self._publisher.take_over(before._publisher)
        self._reachable: dict[str, bool | None] = {
            name: before._reachable.get(name) if before else None for name in self._services
        }
        self._failures: dict[str, int] = dict(before._failures) if before else {}
        self._problems: Mapping[TargetKey, str] = before._problems if before else {}
        self._ways_known = False
        """For thousands of workers they are not looked at with each verdict of a probe."""
        self._look = asyncio.Event()

    async def run(self) -> None:
        """Probe and publish until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._prober.run())
            while True:
                self._look.clear()
                began = self._clock()
                self._update()
                took = self._clock() - began
                await asyncio.sleep(took / AT_MOST - took)
                try:
                    async with asyncio.timeout(LOOK_INTERVAL):
                        await self._look.wait()
                except TimeoutError:
                    self._ways_known = False

    def look(self) -> None:
        """The way to some worker has become good or bad: see what follows."""
        self._ways_known = False
        self._look.set()

    def take(self, registry: Registry) -> None:
        """Other workers, under the same configuration: no other target notices."""
        if registry == self._registry and self._complete:
            return
        self._registry, self._complete = registry, True
        self._ways_known = False
        self._prober.take(registry)
        self._publisher.take(registry, self._clock())
        self._update()

    @property
    def registry(self) -> Registry:
        """Where the workers are at this moment."""
        return self._registry

    @property
    def states(self) -> States:
        """What is known of each target, by its probes and by the way to it."""
        return without(self._prober.states, self._problems)

    def reached(self) -> dict[Address, float | None]:
        """When each worker last accepted a connection, whatever is said of its way.

        By its address; None: it does not accept any now.
        """
        found: dict[Address, float | None] = {}
        states = self._prober.states
        for target in self._registry.targets:
            state, address = states[target.key], target.endpoint.host
            at = state.answered if state.state is State.UP else None
            known = found.get(address)
            found[address] = at if known is None else known if at is None else max(at, known)
        return found

    @property
    def table(self) -> Table | None:
        """The table in force; None before there is evidence for a first one."""
        return self._publisher.table

    @property
    def order(self) -> tuple[str, ...]:
        """All regions, nearest first."""
        return self._publisher.order

    def reachable(self, service: str) -> bool | None:
        """Whether a region can be reached for a service; None: no evidence yet.

        Raises KeyError for a service that is not configured.
        """
        return self._reachable_by(self.states, self._services[service])

    def _reachable_by(self, states: States, service: Service) -> bool | None:
        return reachable(self._registry, states, service) if self._complete else None

    def stands(self, way: Way) -> dict[str, ServiceStands]:
        """How each service stands; `way` says why the way to a worker is no good."""
        states = self.states
        found = {
            name: stands(self._registry, states, service, way)
            for name, service in self._services.items()
        }
        if self._complete:
            return found
        return {name: replace(each, reachable=None) for name, each in found.items()}

    def report(self, report: Report) -> None:
        """A report of the relays: a target with new connect failures is probed at once.

        Its counters are totals since the relays' start, so a smaller one begins anew.
        """
        before, self._failures = (
            self._failures,
            {name: counters.connect_failures for name, counters in report.targets.items()},
        )
        counts = self._failures.items()
        self.suspect(name for name, count in counts if count > 0 and count != before.get(name))

    def ask(self, addresses: Iterable[Address]) -> None:
        """Probe the workers at these addresses at once: what else is known of them is in doubt."""
        asked = set(addresses)
        for target in self._registry.targets if asked else ():
            if target.endpoint.host in asked:
                self._prober.probe_soon(target.key)

    def suspect(self, workers: Iterable[str]) -> None:
        """Users' connections to these ("region/worker") have just failed: probe them at once.

        A name without a worker is a region where they had no answer at all.
        """
        for name in workers:
            if "/" not in name:
                self._prober.region_silent(name)
            for key in self._registry.of_worker(name):
                self._prober.probe_soon(key)

    def status(self) -> dict[str, Any]:
        """For people and the admin API: regions in their order, with distance and workers."""
        table, order, states = self._publisher.table, self._publisher.order, self.states
        return {
            "revision": table.revision if table else None,
            "order": list(order),
            "reachable": {
                name: self._reachable_by(states, service)
                for name, service in self._services.items()
            },
            "regions": view.regions(self._registry, states, order, self._clock()),
        }

    def _update(self) -> None:
        if not self._complete:
            return
        if not self._ways_known:
            self._problems = path_problems(self._registry, self._path_problem)
            self._ways_known = True
        states = self.states
        table = self._publisher.update(states, self._clock(), time.time())
        if table is not None:
            self._on_table(table)
        for name, service in self._services.items():
            now_reachable = reachable(self._registry, states, service)
            if now_reachable is not self._reachable[name]:
                self._reachable[name] = now_reachable
                self._on_reachability(name, now_reachable)
