"""What the upstream sees of what the announcer does."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from edgenode.bgp.announcer import NotOurConfiguration
from edgenode.bgp.client import BirdClient, BirdRestricted, BirdUnavailable
from edgenode.bgp.emergency import withdraw_all
from edgenode.bgp.levels import Level

if TYPE_CHECKING:
    from tests.lab.bgp.conftest import World

V4, V6, DNS = "203.0.113.0/24", "2001:db8:113::/48", "192.0.2.0/24"


@pytest.mark.usefixtures("device")
async def test_announce_drain_and_withdraw(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        assert await world.routes() == {}
        assert await announcer.submit_levels({"web": Level.NORMAL, "dns": Level.WITHDRAWN})
        routes = await world.wait_routes(V4, V6)
        assert {route.as_path for route in routes.values()} == {"64701"}
        assert {route.communities for route in routes.values()} == {""}

        assert await announcer.submit_levels({"web": Level.DRAINED})

        async def drained() -> bool:
            return all(route.communities for route in (await world.routes()).values())

        await world.wait_for(drained)
        routes = await world.wait_routes(V4, V6)
        assert {route.communities for route in routes.values()} == {"(65535,0)"}
        assert {route.as_path for route in routes.values()} == {"64701 64701 64701 64701"}

        assert await announcer.submit_levels({"web": Level.NORMAL})

        async def resumed() -> bool:
            return not any(route.communities for route in (await world.routes()).values())

        await world.wait_for(resumed)
        status = await announcer.status()
        assert status.agrees
        assert status.actual == {"web": Level.NORMAL, "dns": Level.WITHDRAWN}
        assert status.problem == ""

        assert await announcer.submit_levels({"web": Level.WITHDRAWN})
        await world.wait_routes()
        # One UPDATE for each step, and no withdraw but the last: as BIRD logs it on the other side.
        assert world.seen(V4) == world.seen(V6) == ["added", "added", "added", "removed"]


@pytest.mark.usefixtures("device")
async def test_withdrawing_from_drained_does_not_show_the_normal_route(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"web": Level.DRAINED})
        await world.wait_routes(V4, V6)
        await announcer.submit_levels({"web": Level.WITHDRAWN})
        await world.wait_routes()
        assert world.seen(V4) == ["added", "removed"]


async def test_a_group_that_outlives_control_needs_no_device(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"web": Level.NORMAL, "dns": Level.NORMAL})
        await world.wait_routes(DNS)


@pytest.mark.usefixtures("device")
async def test_a_withdraw_waits_for_nothing(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        times = []
        for _ in range(5):
            await announcer.submit_levels({"web": Level.NORMAL})
            await world.wait_routes(V4, V6)
            before = time.monotonic()
            assert await announcer.submit_levels({"web": Level.WITHDRAWN})
            times.append(time.monotonic() - before)
            await world.wait_routes()
        assert min(times) < 0.05


async def test_more_groups_than_fit_into_one_burst(world: World) -> None:
    names = [f"group-with-a-long-name-{i}" for i in range(100)]
    world.raw["groups"] = [
        {"name": name, "prefixes": [f"192.0.2.{i}/32"], "on_control_loss": "keep"}
        for i, name in enumerate(names)
    ]
    async with world.running(await world.start()) as announcer:
        assert await announcer.submit_levels(dict.fromkeys(names, Level.NORMAL))
        await world.wait_routes(*(f"192.0.2.{i}/32" for i in range(100)))
        assert await announcer.submit_levels(dict.fromkeys(names, Level.WITHDRAWN))
        await world.wait_routes()


async def test_what_a_restarted_control_finds(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"dns": Level.DRAINED})
        await world.wait_routes(DNS)
    second = world.announcer()
    second.write_config()
    await second.client.connect()
    assert await second.adopt() == {"dns": Level.DRAINED, "web": Level.WITHDRAWN}
    assert not await second.configure_running(), "BIRD had our text"
    await second.client.close()
    async with world.running(second):
        assert (await second.status()).agrees
    assert set(await world.routes()) == {DNS}
    assert world.seen(DNS) == ["added"], "nothing moved"


async def test_until_a_group_has_a_level_it_is_left_alone(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)
    async with world.running(world.announcer()) as second:
        assert second.wanted == {}
        assert set(await world.routes()) == {DNS}


@pytest.mark.usefixtures("device")
async def test_a_new_configuration_moves_nothing_that_stays(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"web": Level.NORMAL, "dns": Level.DRAINED})
        await world.wait_routes(V4, V6, DNS)
    world.raw["groups"].append(
        {"name": "new", "prefixes": ["198.51.100.128/25"], "on_control_loss": "keep"}
    )
    second = world.announcer()
    second.write_config()
    await second.client.connect()
    await second.adopt()
    await second.client.close()
    async with world.running(second):
        assert await second.submit_levels({"new": Level.NORMAL})
        routes = await world.wait_routes(V4, V6, DNS, "198.51.100.128/25")
        assert routes[V4].communities == ""
        assert routes[DNS].communities == "(65535,0)"
        assert "removed" not in world.seen(V4) + world.seen(V6) + world.seen(DNS)
    text = world.bird.config.read_text()
    assert text.count("protocol static") == text.count("disabled;") == 12
    world.bird.kill()
    await world.wait_routes()
    world.bird.start()
    await asyncio.sleep(1.5)
    assert await world.routes() == {}, "BIRD starts with everything disabled"


async def test_somebody_reconfigures_bird(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)
        world.bird.config.unlink()
        announcer.write_config()
        world.run(f"birdc -s {world.bird.socket} configure")
        await world.wait_routes()
        status = await announcer.status()
        assert not status.agrees
        assert status.in_force == {"dns": False}
        announcer.look_again()
        await world.wait_routes(DNS)
        assert (await announcer.status()).in_force == {"dns": True}


async def test_a_file_that_was_left_with_levels_in_it_is_mended(world: World) -> None:
    announcer = await world.start()
    right = world.bird.config.read_text()
    async with world.running(announcer):
        for damage in (right.replace("  disabled;\n", ""), None):
            if damage is None:
                world.bird.config.unlink()
            else:
                world.bird.config.write_text(damage)
            announcer.look_again()

            async def mended() -> bool:
                return world.bird.config.exists() and world.bird.config.read_text() == right

            await world.wait_for(mended)
        assert announcer.problem == ""


@pytest.mark.usefixtures("device")
async def test_a_new_family_does_not_move_the_one_that_stands(world: World) -> None:
    world.raw["groups"][0]["prefixes"] = [V4]
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"web": Level.NORMAL})
        await world.wait_routes(V4)
    world.raw["groups"][0]["prefixes"] = [V4, V6]
    second = world.announcer()
    await second.client.connect()
    assert (await second.adopt())["web"] is Level.NORMAL
    await second.client.close()
    async with world.running(second):
        await world.wait_routes(V4, V6)
        assert world.seen(V4) == ["added"]


async def test_a_level_is_written_before_submitting_it_returns(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)
        confirmed = announcer.submit_levels({"dns": Level.WITHDRAWN})
        time.sleep(0.2)  # noqa: ASYNC251 nothing of ours runs meanwhile
        shown = world.run(f"birdc -s {world.bird.socket} show protocols dns_v4_normal")
        assert "down" in shown
        assert await confirmed
        with pytest.raises(KeyError):
            announcer.submit_levels({"absent": Level.NORMAL})
    assert not await announcer.submit_levels({"dns": Level.NORMAL})


async def test_a_removed_group_is_gone(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)
    del world.raw["groups"][1]
    second = world.announcer()
    async with world.running(second):
        await world.wait_routes()


async def test_a_bird_that_does_not_read_our_file(world: World) -> None:
    announcer = await world.start()
    world.raw["bgp"]["config"] = str(world.directory / "other.conf")
    world.raw["groups"][0]["name"] = "renamed"
    other = world.announcer()
    async with world.running(announcer):
        await other.client.connect()
        with pytest.raises(NotOurConfiguration, match=r"does not use .*other\.conf"):
            await other.configure_running()
        await other.client.close()


async def test_withdrawing_all_without_control(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"dns": Level.NORMAL, "web": Level.DRAINED})
        await world.wait_routes(DNS)
    names = await asyncio.to_thread(withdraw_all, world.bird.socket)
    assert sorted(names) == ["dns", "web"]
    await world.wait_routes()
    assert sorted(withdraw_all(world.bird.socket)) == ["dns", "web"], "twice is the same"
    world.bird.kill()
    with pytest.raises(BirdUnavailable, match="stop BIRD itself"):
        withdraw_all(world.bird.socket)


async def test_a_restricted_socket(world: World) -> None:
    await world.start()
    client = BirdClient(world.bird.socket)

    async def connected() -> Any:
        try:
            return await client.connect()
        except BirdUnavailable:
            return None

    await world.wait_for(connected)
    with pytest.raises(BirdRestricted):
        await client.ask("restrict")
    with pytest.raises(BirdRestricted, match=r"set bgp\.socket"):
        await client.ask("disable dns_v4_normal")
    await client.close()


async def test_a_published_client_reads_the_same(world: World) -> None:
    pybird = pytest.importorskip("pybird")
    async with world.running(await world.start()) as announcer:
        if (announcer.client.version or (0,)) >= (3,):
            pytest.skip("it does not know BIRD 3")
        theirs = pybird.PyBird(str(world.bird.socket)).get_peer_status("transit_bgp")
        ours = (await announcer.status()).sessions[0]
        assert (theirs["up"], theirs["state"]) == (ours.established, ours.state)
