"""What routes carry to which neighbor, and what comes in from one."""

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from edgenode.bgp.announcer import Announcer
from edgenode.bgp.levels import Level
from edgenode.lab.capture import Capture
from edgenode.lab.wire import Update, updates

if TYPE_CHECKING:
    from tests.lab.bgp.conftest import Bird, World

V4, V6, DNS = "203.0.113.0/24", "2001:db8:113::/48", "192.0.2.0/24"
STRICT = "strict bind on;"


@pytest.fixture
def second(world: World) -> Bird:
    """A second upstream for IPv4, "other" in the edge's configuration."""
    world.raw["bgp"]["neighbors"].append(
        {"name": "other", "address": "198.51.100.4", "asn": 64602, "source": "198.51.100.2"}
    )
    return world.start_second_upstream()


@pytest.mark.usefixtures("device")
async def test_each_neighbor_sees_its_own_attributes(world: World, second: Bird) -> None:
    bgp = world.raw["bgp"]
    bgp["communities"] = ["64701:1"]
    bgp["neighbors"][0] |= {"med": 50, "communities": ["64601:80", "64601:1:2"]}
    bgp["neighbors"][2] |= {"prepend": 2, "communities": ["65535:666"], "keep_blackhole": True}
    dns = {"med": 7, "prepend": 1, "communities": ["64701:53", "65535:666"]}
    world.raw["groups"][1] |= dns
    async with world.running(await world.start(STRICT)) as announcer:
        await announcer.submit_levels({"web": Level.NORMAL, "dns": Level.NORMAL})
        here = await world.wait_routes(V4, V6, DNS)
        there = await world.wait_routes(V4, DNS, bird=second)
    assert here[V4].med == "50"
    assert here[V4].as_path == "64701"
    assert here[V4].communities == "(64601,80) (64701,1)"
    assert here[V4].large == "(64601, 1, 2)"
    assert here[V6].communities == "(64701,1)"
    assert here[DNS].med == "7", "the group's goes first"
    assert here[DNS].as_path == "64701 64701"
    assert here[DNS].communities == "(64601,80) (64701,1) (64701,53)", "no BLACKHOLE"
    assert there[V4].med == ""
    assert there[V4].as_path == "64701 64701 64701"
    assert there[DNS].as_path == "64701 64701 64701 64701"
    assert there[DNS].communities == "(64701,1) (64701,53) (65535,666)"
    assert there[DNS].large == ""


def own(prefix: str, seen: list[Update], neighbor: str) -> list[Update]:
    return [
        update
        for update in seen
        if prefix in update.announced + update.withdrawn and str(update.destination) == neighbor
    ]


@pytest.mark.usefixtures("device")
async def test_twenty_times_degraded_towards_one_neighbor(world: World, second: Bird) -> None:
    """Each change is on the wire at once; BIRD has been seen to keep the last UPDATE for itself."""
    capture = Capture(world.upstream, world.directory / "wire.pcap", "tcp port 179")
    times = []
    try:
        async with world.running(await world.start(STRICT)) as announcer:
            await announcer.submit_levels({"web": Level.NORMAL, "dns": Level.DRAINED})
            await world.wait_routes(V4, V6, DNS)
            await world.wait_routes(V4, DNS, bird=second)
            towards = itertools.cycle([[("web", "other")], []])
            for pairs in itertools.islice(towards, 20):
                begin = time.time()
                assert await announcer.degrade_towards(pairs)

                async def arrived(begin: float = begin) -> list[float]:
                    seen = own(V4, updates(capture.path), "198.51.100.4")
                    return [update.time - begin for update in seen if update.time > begin]

                times.append((await world.wait_for(arrived))[0])
            status = await announcer.status()
            assert status.agrees
            assert status.actual == {"web": Level.NORMAL, "dns": Level.DRAINED}
    finally:
        capture.stop()
    print(f"\nms to the wire: {[round(each * 1000, 1) for each in times]}")
    seen = updates(capture.path)
    looks = [(len(u.as_path), u.med) for u in own(V4, seen, "198.51.100.4")]
    changes = [look for look, _ in itertools.groupby(looks)]
    assert changes == [(1, None), *[(3, 100), (1, None)] * 10]
    here = own(V4, seen, "198.51.100.3") + own(DNS, seen, "198.51.100.4")
    assert {(len(u.as_path), u.med) for u in here} == {(1, None), (4, None)}
    assert not any(u.withdrawn for u in seen)
    assert max(times) < 0.5


async def test_degraded_towards_one_neighbor_outlasts_bird_and_control(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)
        assert await announcer.degrade_towards([("dns", "transit"), ("gone", "transit")])
        world.bird.kill()
        await world.wait_routes()
        assert not await announcer.degrade_towards([("dns", "transit")]), "no BIRD"
        assert announcer.towards == {("dns", "transit")}
        world.bird.start()
        assert (await world.wait_routes(DNS))[DNS].med == "100"
    after = Announcer(world.config, announcer.client, towards=[("dns", "transit")])
    async with world.running(after):
        assert not await after.configure_running(), "BIRD had that text"
        assert (await world.wait_routes(DNS))[DNS].med == "100"


def give_default(*more: str) -> str:
    """A static protocol of the upstream, and what it exports."""
    routes = "".join(f"route {net} blackhole; " for net in ("0.0.0.0/0", *more))
    return f"protocol static given {{ ipv4; {routes}}}\n"


async def test_a_default_route_and_nothing_else_comes_into_the_kernel(world: World) -> None:
    world.raw["bgp"]["neighbors"][0]["default_route"] = True
    announcer = world.announcer()
    announcer.write_config()
    world.bird.start()
    world.start_upstream(head=give_default("198.18.0.0/15", V4, DNS), export="all")

    async def routes() -> list[str]:
        found = world.run("ip route show proto bird").splitlines()
        return [line.strip() for line in found]

    async with world.running(announcer):
        await announcer.submit_levels({"dns": Level.NORMAL})

        async def there() -> bool:
            return bool(await routes())

        await world.wait_for(there)
        await world.wait_routes("0.0.0.0/0", "198.18.0.0/15", V4, DNS)
        (route,) = await routes()
        assert route.startswith("default via 198.51.100.3 dev v0")
        assert world.run("ip -6 route show proto bird") == ""
        world.upstream_bird.kill()

        async def gone() -> bool:
            return not await routes()

        await world.wait_for(gone)


def include(world: World, text: str) -> None:
    path = world.directory / "own.conf"
    path.write_text(text)
    world.raw["bgp"]["include"] = [str(path)]


async def test_an_include_works_and_leaks_nothing(world: World) -> None:
    include(
        world,
        "protocol static mine { ipv4 { preference 300; }; route 198.18.0.0/15 blackhole; "
        "route 203.0.113.0/25 blackhole; route 0.0.0.0/0 blackhole; }\n"
        f"protocol static mine_normal {{ ipv4; route {V4} blackhole; }}\n"
        "protocol static mine_v6_normally { ipv6; route 2001:db8:113::/48 blackhole; }\n",
    )
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)
        shown = world.run(f"birdc -s {world.bird.socket} show route")
        assert "198.18.0.0/15" in shown
        assert "[mine_normal " in shown
        assert set(await world.routes()) == {DNS}


async def test_what_is_added_by_hand_leaks_nothing(world: World) -> None:
    """A protocol that is even called like ours, in a file that somebody has edited."""
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)
        with world.bird.config.open("a") as file:
            file.write(
                "protocol static leak_v4_normal { ipv4; route 198.18.0.0/15 blackhole; "
                "route 192.0.2.0/25 blackhole; route 0.0.0.0/0 blackhole; }\n"
            )
        world.run(f"birdc -s {world.bird.socket} configure")
        announcer.look_again()
        await world.wait_routes(DNS)
        assert "[leak_v4_normal " in world.run(f"birdc -s {world.bird.socket} show route")
        assert set(await world.routes()) == {DNS}


async def test_a_broken_include_changes_nothing_and_is_told_by_its_line(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)
    before = world.bird.config.read_text()
    include(world, "# fine\n\nfilter transit_export { accept; }\n")
    second = world.announcer()
    async with world.running(announcer):

        async def refused() -> Any:
            with suppress(TimeoutError):
                await second.client.connect()
                return await second.degrade_towards([]) or second.problem
            return None

        problem = str(await world.wait_for(refused))
        assert f"{world.directory}/own.conf:3:" in problem
        assert "already defined" in problem or "redefine" in problem
        assert world.bird.config.read_text() == before
        names = sorted(path.name for path in world.directory.glob("edgenode*.conf"))
        assert names == ["edgenode.conf"], "nothing is left behind"
        assert world.seen(DNS) == ["added"]
        await second.client.close()
