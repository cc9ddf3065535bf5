"""A small world of workers that come and go, seen by probes, and the clients steered through it.

Probes, ranking, tables and the relays' dialing are the real ones; only sockets and time are not.
Each step checks the laws that hold at every moment.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

from edgenode.health.risefall import RiseFall, State
from edgenode.regions.publisher import Publisher
from edgenode.regions.ranking import TargetState, reachable
from edgenode.regions.registry import Registry, TargetKey
from edgenode.regions.rtt import Rtt, smooth
from edgenode.regions.suspicion import Suspicion
from edgenode.steering.dial import Dial
from edgenode.steering.memory import Memory
from edgenode.steering.outliers import Failure
from edgenode.steering.pick import Pool
from edgenode.steering.table import Table
from tests.unit.regions.worlds import with_keys

DISTANCES = {"fra": 0.020, "iad": 0.021, "sin": 0.090}
"""Seconds, true ones: fra and iad are a millisecond apart."""

EPOCH = 1.7e9


class World:
    """Times are seconds; `registry` has to be of the services of `worlds`."""

    def __init__(self, rng: Random, **keys: Mapping[str, Any]) -> None:
        self.rng = rng
        self.now = 0.0
        self.keys: dict[str, Mapping[str, Any]] = dict(keys)
        self.registry: Registry = with_keys(**self.keys)
        self.distances = dict(DISTANCES)
        self.dead: set[str] = set()
        """Workers that refuse, and regions that are silent."""
        self.risefalls: dict[TargetKey, RiseFall] = {}
        self.rtts: dict[TargetKey, Rtt | None] = {}
        self.suspicions: dict[TargetKey, Suspicion] = {}
        self.publisher = Publisher(self.registry, 0.0)
        # Its own chance: what happens in the world does not hang on how a relay draws.
        self.memory = Memory(random=Random(rng.random()))
        self.table: Table | None = None
        self.open: list[tuple[Pool, int]] = []
        self.served: Counter[str] = Counter()
        """Clients by region; "nobody" for those that were refused."""
        self.swaps: Counter[frozenset[str]] = Counter()
        """How often two regions changed their order though nothing had happened to them."""
        self._disturbed = dict.fromkeys(DISTANCES, 0.0)
        self._watch()

    # --- what happens

    def disturb(self) -> None:
        """Something happens somewhere."""
        region = self.rng.choice(sorted(DISTANCES))
        worker = f"{region}-{self.rng.choice((1, 2))}"
        what = self.rng.random()
        if what < 0.75:
            if self.dead and self.rng.random() < len(self.dead) / 2:
                self.dead.remove(self.rng.choice(sorted(self.dead)))
            else:
                self.dead.add(worker if what < 0.6 else region)
        elif what < 0.85:
            self.move(region, self.rng.choice((0.005, 0.020, 0.021, 0.050, 0.200)))
        elif what < 0.95:
            drained = [name for name, keys in self.keys.items() if keys.get("draining")]
            if len(drained) == 2:
                self.change(**{name: {"draining": False} for name in drained})
            else:
                name = self.rng.choice((region, worker.replace("-", "_")))
                self.change(**{name: {"draining": True}})
        else:
            self.restart()

    def move(self, region: str, distance: float) -> None:
        """The way to a region becomes another one."""
        self.distances[region] = distance
        self._disturbed[region] = self.now

    def change(self, **keys: Mapping[str, Any]) -> None:
        """Other settings, while it runs."""
        for name, value in keys.items():
            self.keys[name] = {**self.keys.get(name, {}), **value}
        self.registry = with_keys(**self.keys)
        self.publisher.take(self.registry, self.now)

    def restart(self) -> None:
        """Control starts anew, with the last table and no memory."""
        text = json.dumps(self.table.to_json()) if self.table else None
        self.publisher = Publisher(
            self.registry, self.now, Table.from_json(json.loads(text)) if text else None
        )
        self.risefalls.clear()
        self.rtts.clear()
        self._watch()
        self._disturbed = dict.fromkeys(self._disturbed, self.now)

    # --- what follows

    def probe(self, share: float = 1.0) -> None:
        """A share of the targets is looked at, and what follows from it is published."""
        for key, risefall in self.risefalls.items():
            if self.rng.random() > share:
                continue
            alive = not {key.region, key.worker} & self.dead
            if alive:
                self.rtts[key] = smooth(self.rtts[key], self._sample(key.region))
            verdict = risefall.observe(alive, self.now, "" if alive else f"{key} is dead")
            if verdict is not None:
                self._disturbed[key.region] = self.now
                if verdict.state is State.DOWN:
                    self.rtts[key] = None
        self.publish()

    def publish(self) -> None:
        """Make a table if one is due."""
        made = self.publisher.update(self.states(), self.now, EPOCH + self.now)
        if made is not None:
            assert made.revision == (self.table.revision + 1 if self.table else 1)
            if self.table is not None:
                assert made != self.table
                self._count_swaps(self.table, made)
                before, after = _since(self.table), _since(made)
                stayed = before.keys() & after.keys()
                assert all(before[place] == after[place] for place in stayed), "none has returned"
            self.table = made
            self.memory.apply(made, self.now, EPOCH + self.now)
        self.check()

    def states(self) -> dict[TargetKey, TargetState]:
        """As the prober would tell."""
        return {
            key: TargetState(
                risefall.state,
                rtt.smoothed if (rtt := self.rtts[key]) else None,
                risefall.verdict.reason,
                risefall.verdict.since,
                suspect=self.suspicions[key].reason,
            )
            for key, risefall in self.risefalls.items()
        }

    def connect(self, service: str = "web") -> str | None:
        """A client comes: the region that serves it."""
        assert self.table is not None
        steered = next(one for one in self.table.services if one.name == service)
        dial = Dial(steered, self.memory, self.now)
        now = self.now
        while (attempt := dial.next(now)) is not None:
            key = TargetKey(attempt.region, attempt.target.worker, attempt.target.port)
            assert self.risefalls[key].state is not State.DOWN, "nobody is sent to the known dead"
            if attempt.region in self.dead:
                now += attempt.timeout
                dial.failed(attempt, Failure.TIMEOUT, now)
            elif attempt.target.worker in self.dead:
                dial.failed(attempt, Failure.REFUSED, now)
            else:
                dial.connected(attempt, now + self.distances[attempt.region])
                self.open.append((attempt.pool, attempt.at))
                self.served[attempt.region] += 1
                return attempt.region
        assert dial.full or not any(
            {region.region, target.worker}.isdisjoint(self.dead)
            for region in steered.regions
            for target in region.workers
        ), "whoever is refused met nobody alive, or all were full"
        self.served["nobody"] += 1
        return None

    def hang_up(self, keep: int) -> None:
        """Clients go, until so many are left."""
        while len(self.open) > keep:
            at = self.rng.randrange(len(self.open))
            self.open[at], self.open[-1] = self.open[-1], self.open[at]
            self.memory.give(*self.open.pop())

    # --- laws

    def check(self) -> None:
        """What holds at every moment, of the table in force."""
        states = self.states()
        for service in self.table.services if self.table else ():
            wanted = next(one for one in self.registry.services if one.name == service.name)
            named = {
                TargetKey(region.region, target.worker, target.port): target
                for region in service.regions
                for target in region.workers
            }
            assert all(wanted.may_use(key.region) for key in named)
            assert all(self.risefalls[key].state is not State.DOWN for key in named)
            regions = self.registry.by_region(wanted)
            allowed = [target.key for targets in regions.values() for target in targets]
            up = [key for key in allowed if self.risefalls[key].state is State.UP]
            assert bool(named) or not up, "who is up serves, if there is nobody else"
            found = reachable(self.registry, states, wanted)
            assert found in (None, bool(named)), "what is reachable is what the table has"
            sure = [key for key in up if not states[key].suspect]
            if any(states[key].suspect for key in named):
                assert not sure, "a suspect serves only where nobody else does"
            if any(map(self._drains, named)):
                assert all(map(self._drains, named)), (
                    "what drains serves only where nobody else does"
                )
                assert all(map(self._drains, sure or up))
            for target in named.values():
                assert target.since <= EPOCH + self.now
            first = [region.region for region in service.regions]
            liked = [name for name in wanted.prefer if name in first]
            assert first[: len(liked)] == liked

    def _drains(self, key: TargetKey) -> bool:
        names = (key.region, key.worker.replace("-", "_"))
        return any(self.keys.get(name, {}).get("draining", False) for name in names)

    def _watch(self) -> None:
        for target in self.registry.targets:
            self.risefalls[target.key] = RiseFall(str(target.key), 2, 2, self.now)
            self.rtts[target.key] = None
            self.suspicions[target.key] = Suspicion()

    def _sample(self, region: str) -> float:
        """A tenth of jitter, and now and then a queue."""
        distance = self.distances[region] * (1 + 0.1 * self.rng.random())
        return distance * (5 if self.rng.random() < 0.1 else 1)

    def _count_swaps(self, before: Table, after: Table) -> None:
        old, new = ([r.region for r in one.services[0].regions] for one in (before, after))
        settled = {name for name, at in self._disturbed.items() if self.now - at > 60}
        both = [name for name in old if name in new and name in settled]
        for i, one in enumerate(both):
            for other in both[i + 1 :]:
                if new.index(other) < new.index(one):
                    self.swaps[frozenset((one, other))] += 1


def _since(table: Table) -> dict[tuple[str, str, str], float]:
    """When each target came up, by service, region and worker."""
    return {
        (service.name, region.region, target.worker): target.since
        for service in table.services
        for region in service.regions
        for target in region.workers
    }
