"""How soon the prober finds a whole region dead: by the first of its dead, and by its users."""

import asyncio
import re
import time
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
        self.loses = 0
        """How many probes get no answer, from now on."""
        self.asked = 0

    async def probe(
        self, target: Endpoint, bind: Bind, limit: float
    ) -> tuple[Observation, float | None]:
        self.asked += 1
        if self.silent or self.loses:
            self.loses = max(0, self.loses - 1)
            await asyncio.sleep(limit)
            return Observation(False, "no answer", limit), None
        await asyncio.sleep(0)
        return Observation(not self.refuses, "refused", 0.0), None if self.refuses else 0.001


class World:
    """A region of some workers, which are up and have just been probed."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self.network = Network()
        self.changes: list[TargetKey] = []
        region = {
            "name": "fra",
            "workers": [{"name": f"w{n}", "addresses": [f"10.0.0.{n}"]} for n in range(WORKERS)],
            "probe": {"interval": INTERVAL, "timeout": timeout, "rise": 1, "fall": 2},
        }
        service = {"name": "web", "group": "web", "listen": ["203.0.113.1:80"], "port": 80}
        registry = from_config(config(services=[service], regions=[region]), Bind())
        self.prober = Prober(registry, self.changes.append)

    def up(self) -> int:
        return sum(target.state is State.UP for target in self.prober.states.values())

    def suspects(self) -> list[str]:
        return [target.suspect for target in self.prober.states.values() if target.suspect]

    async def until(self, up: int) -> float:
        """Seconds until so many are up."""
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(10):
            while self.up() != up:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return asyncio.get_running_loop().time() - began


@pytest.fixture
async def world(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[World]:
    made = World(getattr(request, "param", TIMEOUT))
    monkeypatch.setattr(prober, "probe", made.network.probe)
    monkeypatch.setattr(prober, "first_probe", lambda now, interval, draw: now)
    running = asyncio.create_task(made.prober.run())
    await made.until(WORKERS)
    yield made
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


patient = pytest.mark.parametrize("world", [2.0], indirect=True, ids=["timeout 2 s"])


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


@patient
async def test_who_is_silent_is_suspected_long_before_it_is_down(world: World) -> None:
    """And the first of them brings the others of its region into question."""
    world.network.silent = True
    world.prober.probe_soon(TargetKey("fra", "w0", 80))
    await asyncio.sleep(prober.CONFIRM * INTERVAL + 0.5)
    (suspect,) = world.suspects()
    assert re.fullmatch(r"no answer for 0\.\d s", suspect)
    await asyncio.sleep(0.5)
    assert len(world.suspects()) == WORKERS, "they would not be probed for a while"
    assert world.up() == WORKERS
    assert not any(t.since > t.answered for t in world.prober.states.values())
    world.network.silent = False
    world.changes.clear()
    await asyncio.sleep(0.9)
    assert not world.suspects(), "asked again, they answer"
    assert len(world.changes) == WORKERS
    assert world.up() == WORKERS


@patient
async def test_a_probe_that_is_lost_makes_no_suspect(world: World) -> None:
    before = world.network.asked
    world.network.loses = 1
    world.prober.probe_soon(TargetKey("fra", "w0", 80))
    for _ in range(20):
        await asyncio.sleep(0.05)
        assert not world.suspects()
    assert world.network.asked == before + 2, "the second had an answer"


@patient
async def test_a_loop_that_does_not_run_suspects_nobody(world: World) -> None:
    world.network.loses = 1
    world.prober.probe_soon(TargetKey("fra", "w0", 80))
    await asyncio.sleep(prober.CONFIRM * INTERVAL + 0.1)
    before = world.network.asked
    time.sleep(0.6)  # noqa: ASYNC251
    await asyncio.sleep(0.01)
    assert not world.suspects()
    assert world.network.asked == before, "the answer may not have been read yet"


async def test_who_is_down_is_no_suspect(world: World) -> None:
    world.network.silent = True
    for worker in range(WORKERS):
        world.prober.probe_soon(TargetKey("fra", f"w{worker}", 80))
    await world.until(0)
    assert not world.suspects()
