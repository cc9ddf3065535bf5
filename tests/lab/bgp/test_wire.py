"""What is on the upstream's wire, message by message."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from edgenode.bgp.levels import Level
from edgenode.lab.capture import Capture
from edgenode.lab.wire import Update, updates

if TYPE_CHECKING:
    from tests.lab.bgp.conftest import World

V4, V6, DNS = "203.0.113.0/24", "2001:db8:113::/48", "192.0.2.0/24"
GSHUT = (65535, 0)
WALK = [
    *(Level.NORMAL, Level.DEGRADED, Level.NORMAL, Level.DRAINED, Level.NORMAL, Level.WITHDRAWN),
    *(Level.DEGRADED, Level.DRAINED, Level.DEGRADED, Level.WITHDRAWN, Level.DRAINED),
    *(Level.WITHDRAWN, Level.NORMAL),
]
"""Each ordered pair of levels once."""


def level_of(update: Update) -> Level:
    if update.withdrawn:
        return Level.WITHDRAWN
    looks = (len(update.as_path), update.med, GSHUT in update.communities)
    return {
        (1, None, False): Level.NORMAL,
        (3, 100, False): Level.DEGRADED,
        (4, None, True): Level.DRAINED,
    }[looks]


@pytest.fixture
def capture(world: World) -> Iterator[Capture]:
    running = Capture(world.upstream, world.directory / "wire.pcap", "tcp port 179")
    yield running
    running.stop()


def of(prefix: str, seen: list[Update]) -> list[Update]:
    return [update for update in seen if prefix in update.announced + update.withdrawn]


@pytest.mark.usefixtures("device")
async def test_every_way_between_two_levels_is_one_update(world: World, capture: Capture) -> None:
    assert len({*itertools.pairwise(WALK)}) == 12
    async with world.running(await world.start()) as announcer:
        seen: list[Update] = []
        for step, level in enumerate(WALK):
            assert await announcer.submit_levels({"web": level})

            async def arrived(count: int = step + 1) -> bool:
                seen[:] = updates(capture.path)
                return all(len(of(prefix, seen)) >= count for prefix in (V4, V6))

            await world.wait_for(arrived)
        await asyncio.sleep(0.3)
    seen = updates(capture.stop())
    for prefix in (V4, V6):
        assert [level_of(update) for update in of(prefix, seen)] == WALK
