"""How soon the prober finds a whole region dead: by the first of its dead, and by its users."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from edgenode.config import Endpoint
from edgenode.health.observation import Observation
from edgenode.health.risefall import State
from edgenode.regions import prober
from edgenode.regions.prober import Prober
from edgenode.regions.registry import TargetKey, from_config
from edgenode.steering.table import Bind
from tests.unit.regions.worlds import config

INTERVAL, TIMEOUT, WORKERS = 2.0, 0.2, 6


class Network:
    """What becomes of a probe: an answer, a refusal, or nothing until its time is over."""

    def __init__(self) -> None:
        self.refuses = self.silent = False

    async def probe(
        self, target: Endpoint, bind: Bind, limit: float
    ) -> tuple[Observation, float | None]:
        if self.silent:
            await asyncio.sleep(limit)
            return Observation(False, "no answer", limit), None
        await asyncio.sleep(0)
        return Observation(not self.refuses, "refused", 0.0), None if self.refuses else 0.001


class World:
    """A region of some workers, which are up and have just been probed."""

    def __init__(self) -> None:
        self.network = Network()
        region = {
            "name": "fra",
            "workers": [{"name": f"w{n}", "addresses": [f"10.0.0.{n}"]} for n in range(WORKERS)],
            "probe": {"interval": INTERVAL, "timeout": TIMEOUT, "rise": 1, "fall": 2},
        }
        service = {"name": "web", "group": "web", "listen": ["203.0.113.1:80"], "port": 80}
        registry = from_config(config(services=[service], regions=[region]), Bind())
        self.prober = Prober(registry, lambda key: None)

    def up(self) -> int:
        return sum(target.state is State.UP for target in self.prober.states.values())

    async def until(self, up: int) -> float:
        """Seconds until so many are up."""
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(10):
            while self.up() != up:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return asyncio.get_running_loop().time() - began


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    made = World()
    monkeypatch.setattr(prober, "probe", made.network.probe)
    monkeypatch.setattr(prober, "first_probe", lambda now, interval, draw: now)
    running = asyncio.create_task(made.prober.run())
    await made.until(WORKERS)
    yield made
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_the_first_of_the_dead_brings_the_others_into_question(world: World) -> None:
    """They would not be probed for most of an interval."""
    world.network.refuses = True
    await asyncio.sleep(prober.CONFIRM * INTERVAL)  # users come to one of them
    world.prober.probe_soon(TargetKey("fra", "w0", 80))
    await asyncio.sleep(prober.HURRY)
    world.prober.probe_soon(TargetKey("fra", "w0", 80))
    assert await world.until(0) < 2 * prober.CONFIRM * INTERVAL


async def test_a_region_that_is_silent_for_users_and_for_probes_is_down(world: World) -> None:
    """What users met counts as one failure of two."""
    world.network.silent = True
    await asyncio.sleep(prober.CONFIRM * INTERVAL)
    world.prober.region_silent("fra")
    assert await world.until(0) < TIMEOUT + prober.CONFIRM * INTERVAL / 2


async def test_a_region_that_is_silent_for_users_alone_stays_up(world: World) -> None:
    for _ in range(10):
        world.prober.region_silent("fra")
        await asyncio.sleep(0.1)
        assert world.up() == WORKERS
