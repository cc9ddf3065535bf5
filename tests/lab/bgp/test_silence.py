"""What the neighbor sees, and when, where nothing tells it: the link is cut, BIRD is stopped."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest

from edgenode.bgp.levels import Level

if TYPE_CHECKING:
    from tests.lab.bgp.conftest import World

DNS = "192.0.2.0/24"
HOLD = 3
BFD = 'protocol bfd { interface "*" { interval 300 ms; multiplier 3; }; }'


async def seconds_until_dropped(world: World, what: str, *, bfd: bool) -> float:
    """From the start of the silence until the upstream has no route; the session was up."""
    for neighbor in world.raw["bgp"]["neighbors"]:
        neighbor |= {"hold_time": HOLD, "bfd": bfd}
    started = await (world.start("bfd on;", head=BFD) if bfd else world.start())
    async with world.running(started) as announcer:
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)
        if bfd:

            async def up() -> bool:
                shown = world.run(
                    f"birdc -s {world.upstream_bird.socket} show bfd sessions", node="upstream"
                )
                return shown.count(" Up ") == 2

            await world.wait_for(up)
        begin = time.monotonic()
        if what == "link cut":
            world.cut()
        else:
            world.bird.signal(signal.SIGSTOP)
        try:
            while await world.routes():
                await asyncio.sleep(0.01)
                assert time.monotonic() - begin < 3 * HOLD
        finally:
            world.bird.signal(signal.SIGCONT)
        took = time.monotonic() - begin
    print(f"\n{what}, {'BFD' if bfd else f'hold time {HOLD} s'}: dropped after {took:.2f} s")
    return took


@pytest.mark.parametrize("what", ["link cut", "BIRD stopped"])
async def test_with_bfd_the_neighbor_drops_within_a_second(world: World, what: str) -> None:
    assert 0.5 < await seconds_until_dropped(world, what, bfd=True) < 2


@pytest.mark.parametrize("what", ["link cut", "BIRD stopped"])
async def test_without_it_the_hold_time_decides(world: World, what: str) -> None:
    assert HOLD * 0.5 < await seconds_until_dropped(world, what, bfd=False) < HOLD + 1


async def test_a_link_that_goes_down_is_not_waited_for(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)
        begin = time.monotonic()
        world.run("ip link set v0 down")
        await world.wait_routes()
        took = time.monotonic() - begin
    print(f"\nlink down: dropped after {took:.2f} s")
    assert took < 2, "netlink tells at once or, if it was lost, the scan does"
