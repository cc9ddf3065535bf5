"""What BIRD says of its neighbors: what they were sent, and what they tell of other sites."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from edgenode.bgp.client import BirdClient
from edgenode.bgp.lastsite import Outlook
from edgenode.bgp.levels import Level
from edgenode.control.neighbors import look, others

if TYPE_CHECKING:
    from tests.lab.bgp.conftest import World

DNS, OTHER, FOREIGN = "192.0.2.0/24", "198.51.100.128/25", "198.18.0.0/15"
ANOTHER_SITE = (
    "add paths tx; export filter { if source != RTS_STATIC then reject; "
    "bgp_path.prepend(64701); bgp_path.prepend(64999); accept; };"
)


def dns(world: World) -> None:
    """One group with prefixes of one family, that needs no device."""
    world.raw["groups"] = [
        {"name": name, "prefixes": [prefix], "on_control_loss": "keep"}
        for name, prefix in (("dns", DNS), ("other", OTHER))
    ]


async def test_a_drain_is_proven_by_what_went_out_and_not_by_the_filter(world: World) -> None:
    dns(world)
    async with world.running(await world.start()) as announcer:
        looker = BirdClient(world.bird.socket)
        group = world.config.groups[0]
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)
        found = await look(looker, world.config, group, Level.DRAINED)
        assert found.missing == {"transit": f"{DNS} was sent, but not as drained"}
        await announcer.submit_levels({"dns": Level.DRAINED})

        async def there() -> bool:
            return (await world.routes())[DNS].communities == "(65535,0)"

        await world.wait_for(there)
        found = await look(looker, world.config, group, Level.DRAINED)
        assert (found.whole, found.sent) == (True, ("transit",))
        # Somebody takes the route away: the filter is as it was, and would pass it.
        world.run(f"birdc -s {world.bird.socket} disable dns_v4_drained")
        await world.wait_routes()
        found = await look(looker, world.config, group, Level.DRAINED)
        assert found.missing == {"transit": f"{DNS} was not sent"}
        assert (await look(looker, world.config, group, Level.WITHDRAWN)).whole
        world.upstream_bird.kill()

        async def down() -> bool:
            return not (await look(looker, world.config, group, Level.DRAINED)).missing

        await world.wait_for(down)
        found = await look(looker, world.config, group, Level.DRAINED)
        assert (found.whole, found.down) == (False, ("transit",))
        await looker.close()


async def test_another_site_is_seen_and_goes_nowhere(world: World) -> None:
    dns(world)
    world.raw["bgp"]["neighbors"][0]["last_site_view"] = True
    announcer = await world.start()
    conf = world.upstream_bird.config
    sites = "".join(f"route {prefix} blackhole; " for prefix in (DNS, FOREIGN))
    text = conf.read_text()
    channel = "ipv4 { import all; export none;"
    assert channel in text
    text = text.replace(channel, channel.replace("export none;", ANOTHER_SITE))
    conf.write_text(f"{text}protocol static sites {{ ipv4; {sites}}}\n")

    upstream = world.upstream_bird.socket

    async def configured() -> bool:
        try:
            shown = world.run(f"birdc -s {upstream}", "configure", node="upstream")
        except subprocess.CalledProcessError:  # it is not there yet
            return False
        return "Reconfig" in shown

    await world.wait_for(configured)
    async with world.running(announcer):
        looker = BirdClient(world.bird.socket)

        async def seen() -> bool:
            known = await others(looker, world.config, world.config.groups)
            return known[DNS].outlook is Outlook.ELSEWHERE

        await world.wait_for(seen)
        known = await others(looker, world.config, world.config.groups)
        assert known[OTHER].outlook is Outlook.LAST, "the neighbor tells of others, not of this"
        await announcer.submit_levels({"dns": Level.NORMAL, "other": Level.NORMAL})

        async def ours() -> bool:
            shown = world.run(f"birdc -s {world.bird.socket}", "show route")
            return DNS in shown and "dns_v4_normal" in shown

        await world.wait_for(ours)
        shown = world.run(f"birdc -s {world.bird.socket}", f"show route {DNS} all")
        assert shown.index("dns_v4_normal") < shown.index("transit_bgp"), "ours is preferred"
        assert FOREIGN not in world.run(f"birdc -s {world.bird.socket}", "show route")
        # Withdrawn here, the other's is the best that BIRD has, and is told to nobody.
        await announcer.submit_levels({"dns": Level.WITHDRAWN})

        group = world.config.groups[0]

        async def gone() -> bool:
            return (await look(looker, world.config, group, Level.WITHDRAWN)).whole

        await world.wait_for(gone)
        shown = world.run(f"birdc -s {world.bird.socket}", "show route export transit_bgp")
        assert DNS not in shown
        await looker.close()
