"""Control, lifeline or both go, and what the upstream then has."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from edgenode.bgp.levels import Level
from edgenode.lifeline.pulse import Pulse

if TYPE_CHECKING:
    from tests.lab.bgp.conftest import World

V4, V6, DNS = "203.0.113.0/24", "2001:db8:113::/48", "192.0.2.0/24"
GRACE = 1.0
BEAT = 0.1


@pytest.fixture
def lifeline(world: World) -> Iterator[subprocess.Popen[bytes]]:
    config = world.directory / "node.toml"
    config.write_text(f'[node]\nrun_dir = "{world.directory}"\n[lifeline]\ngrace = {GRACE}\n')
    process = subprocess.Popen(
        [
            *("ip", "netns", "exec", world.edge, sys.executable, "-m", "edgenode.lifeline"),
            *("--config", str(config)),
        ]
    )
    yield process
    process.kill()
    process.wait(5)


@asynccontextmanager
async def beating(world: World) -> AsyncIterator[Pulse]:
    """As control does it; ends without a word, as a control that is killed."""
    pulse = Pulse(world.directory / "lifeline" / "lifeline.sock")

    async def beat() -> None:
        while True:
            pulse.beat()
            await asyncio.sleep(BEAT)

    tasks = [asyncio.create_task(pulse.run()), asyncio.create_task(beat())]
    try:
        yield pulse
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.mark.usefixtures("lifeline")
async def test_nothing_is_announced_before_the_first_beat_and_all_after_it(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"web": Level.NORMAL, "dns": Level.NORMAL})
        await world.wait_routes(DNS)
        async with beating(world):
            await world.wait_routes(V4, V6, DNS)


async def test_the_lifeline_is_killed(world: World, lifeline: subprocess.Popen[bytes]) -> None:
    async with world.running(await world.start()) as announcer, beating(world):
        await announcer.submit_levels({"web": Level.NORMAL, "dns": Level.NORMAL})
        await world.wait_routes(V4, V6, DNS)
        lifeline.kill()
        begin = time.monotonic()
        await world.wait_routes(DNS)
        assert time.monotonic() - begin < GRACE / 2


@pytest.mark.usefixtures("lifeline")
async def test_control_is_killed(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        async with beating(world):
            await announcer.submit_levels({"web": Level.DRAINED, "dns": Level.NORMAL})
            await world.wait_routes(V4, V6, DNS)
        begin = time.monotonic()
        await world.wait_routes(DNS)  # what is kept is kept
        assert time.monotonic() - begin > GRACE * 0.9


@pytest.mark.usefixtures("lifeline")
async def test_control_is_restarted_within_the_grace(world: World) -> None:
    async with world.running(await world.start()) as announcer, beating(world):
        await announcer.submit_levels({"web": Level.NORMAL, "dns": Level.WITHDRAWN})
        await world.wait_routes(V4, V6)
    second = world.announcer()
    second.write_config()
    async with beating(world) as pulse:
        assert await asyncio.wait_for(pulse.wait_state(), 1) is True
        await second.client.connect()
        assert (await second.adopt())["web"] is Level.NORMAL
        async with world.running(second):
            await asyncio.sleep(GRACE * 1.5)
            assert set(await world.routes()) == {V4, V6}
    assert world.seen(V4) == ["added"], "the upstream noticed nothing"
