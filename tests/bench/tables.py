"""How long a steering table takes: to be made, to be picked from, and to be in all relay workers.

The first two are pure functions; the third is control's own code on one end and a real
`edgenode steering` (supervisor and relay workers) on the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgenode.config import Config
from edgenode.health.risefall import State
from edgenode.lab.nodes import edge
from edgenode.lab.python import environment
from edgenode.places import steering_socket
from edgenode.regions.publisher import Publisher
from edgenode.regions.ranking import TargetState
from edgenode.regions.registry import Registry, TargetKey, from_config
from edgenode.steering.dial import Dial
from edgenode.steering.link import SteeringLink
from edgenode.steering.memory import Memory
from edgenode.steering.table import Bind, Table
from tests.bench.figures import Summary, summary
from tests.bench.node import configuration
from tests.unit.steering.process import linked

RELAYS = 2
PATIENCE = 20.0
PORT = 8080
BIND = Bind("wg0", "10.255.0.1", None)


class World:
    """Regions of workers, all up: what control knows, without its sockets."""

    def __init__(self, regions: int, workers: int, services: int, listen_at: int = 0) -> None:
        """`listen_at`: the first port on loopback that the services listen on."""
        self.regions = [f"r{number}" for number in range(regions)]
        config = _config(self.regions, workers, services, listen_at)
        self.registry: Registry = from_config(config, BIND)
        self.states = {
            target.key: TargetState(State.UP, 0.010 + 0.001 * int(target.key.region[1:]), "", 0.0)
            for target in self.registry.targets
        }
        self.now = 0.0
        self.publisher = Publisher(self.registry, self.now)
        first = self.update()
        assert first is not None
        self.table = first

    def put(self, keys: list[TargetKey], state: State) -> None:
        """The probes' verdict on these targets."""
        for key in keys:
            self.states[key] = replace(self.states[key], state=state, since=self.now)

    def update(self) -> Table | None:
        """What control does at each verdict."""
        self.now += 60.0  # long enough for all that waits
        table = self.publisher.update(self.states, self.now)
        if table is not None:
            self.table = table
        return table


def _config(regions: list[str], workers: int, services: int, listen_at: int) -> Config:
    return Config.model_validate(
        {
            "node": {"name": "bench"},
            "bgp": {
                "asn": 64701,
                "router_id": "198.51.100.1",
                "neighbors": [{"name": "t", "address": "198.51.100.3", "asn": 64601}],
            },
            "groups": [{"name": "web", "prefixes": ["198.18.0.0/24"]}],
            "services": [
                {
                    "name": f"s{number}",
                    "group": "web",
                    "listen": [f"127.0.0.1:{listen_at + number}"],
                    "port": PORT + number,
                }
                for number in range(services)
            ],
            "regions": [
                {
                    "name": name,
                    "workers": [
                        {"name": f"w{w}", "addresses": [f"10.{r}.{w >> 8}.{w & 255}"]}
                        for w in range(workers)
                    ],
                }
                for r, name in enumerate(regions)
            ],
        }
    )


# Made, and picked from


def _times(call: Callable[[], object], count: int) -> list[float]:
    """Seconds that each call takes."""
    taken = []
    for _ in range(count):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return taken


def pure(regions: int, workers: int) -> dict[str, Summary]:
    """Making a table in milliseconds, picking a target in microseconds."""
    world = World(regions, workers, 1, 20000)
    keys = list(world.states)

    def change() -> None:
        key = keys[change.turn % len(keys)]  # type: ignore[attr-defined]
        change.turn += 1  # type: ignore[attr-defined]
        up = world.states[key].state is State.UP
        world.put([key], State.DOWN if up else State.UP)
        assert world.update() is not None

    change.turn = 0  # type: ignore[attr-defined]
    made = [value * 1e3 for value in _times(change, 51)]
    first = [
        value * 1e3
        for value in _times(lambda: Publisher(world.registry, 0.0).update(world.states, 0.0), 11)
    ]
    service, memory = world.table.services[0], Memory()
    memory.apply(world.table, 0.0, 0.0)
    live: dict[str, int] = {}

    def pick() -> None:
        dial = Dial(service, memory, 0.0)
        attempt = dial.next(0.0)
        assert attempt is not None
        name = attempt.target.worker
        live[name] = live.get(name, 0) + 1
        dial.connected(attempt, 0.01)

    def naive() -> None:
        """All workers in the order of their distance and load, for each connection."""
        ranked = sorted(
            (place, live.get(target.worker, 0), target.worker)
            for place, region in enumerate(service.regions)
            for target in region.workers
        )
        assert ranked

    return {
        "first_table_ms": summary(first),
        "next_table_ms": summary(made),
        "pick_us": summary(value * 1e6 for value in _times(pick, 5000)),
        "naive_pick_us": summary(value * 1e6 for value in _times(naive, 51)),
    }


# In all relay workers


@contextlib.contextmanager
def steering(directory: Path) -> Iterator[Path]:
    """A real `edgenode steering`; yields its socket."""
    config = directory / "edgenode.toml"
    config.write_text(configuration(directory, RELAYS), encoding="utf-8")
    process = subprocess.Popen(
        edge.daemon(config, "steering"),
        stdin=subprocess.DEVNULL,
        stderr=(directory / "steering.log").open("wb"),
        env=environment(),
        cwd="/",
    )
    try:
        yield steering_socket(directory / "run")
    finally:
        process.terminate()
        process.wait(PATIENCE)


async def _obeyed(link: SteeringLink, revision: int) -> None:
    """Wait until all relay workers obey a table."""
    async with asyncio.timeout(PATIENCE):
        while link.applied != revision:  # noqa: ASYNC110  (it is for another process)
            await asyncio.sleep(0.0005)


async def _handover(path: Path, world: World, runs: int) -> dict[str, Summary]:
    """Milliseconds from a verdict to the word of all relay workers that they obey the table."""
    taken: dict[str, list[float]] = {"target": [], "region": [], "return": []}

    async def change(link: SteeringLink, keys: list[TargetKey], state: State) -> float:
        await asyncio.sleep(0.15)  # the disk has the table before, and nobody is at work
        begin = time.perf_counter()
        world.put(keys, state)
        table = world.update()
        assert table is not None
        link.publish(table)
        await _obeyed(link, table.revision)
        return (time.perf_counter() - begin) * 1000

    async with linked(path) as link:
        link.publish(world.table)
        await _obeyed(link, world.table.revision)
        keys = list(world.states)
        for run in range(runs):
            region = world.regions[run % len(world.regions)]
            for kind, dying in {
                "target": [keys[run * len(keys) // runs]],
                "region": [key for key in keys if key.region == region],
            }.items():
                taken[kind].append(await change(link, dying, State.DOWN))
                taken["return"].append(await change(link, dying, State.UP))
    return {kind: summary(values) for kind, values in taken.items()}


def handover(directory: Path, runs: int, note: Callable[[str], None]) -> dict[str, Any]:
    """All sizes of a table: from the verdict to all relay workers, in milliseconds."""
    found: dict[str, Any] = {}
    for number, (regions, workers, services) in enumerate(
        ((10, 100, 1), (10, 100, 5), (100, 100, 1))
    ):
        name = f"{regions * workers} workers, {services} service{'s' * (services > 1)}"
        note(f"verdict to relays: {name}")
        place = directory / f"steering-{number}"
        place.mkdir()
        world = World(regions, workers, services, 21000 + 10 * number)
        with steering(place) as path:
            found[name] = asyncio.run(_handover(path, world, runs))
    return found
