"""BIRD dies, hangs, or is not BIRD; sessions with passwords and TTL security."""

from __future__ import annotations

import asyncio
import grp
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgenode.bgp.client import BirdClient, BirdUnavailable
from edgenode.bgp.levels import Level
from edgenode.bgp.render import secrets_file

if TYPE_CHECKING:
    from tests.lab.bgp.conftest import World

DNS = "192.0.2.0/24"


async def test_a_bird_that_was_killed_comes_back_as_wanted(world: World) -> None:
    async with world.running(await world.start()) as announcer:
        await announcer.submit_levels({"dns": Level.DRAINED})
        await world.wait_routes(DNS)
        world.bird.kill()
        await world.wait_routes()
        assert not await announcer.submit_levels({"dns": Level.NORMAL}), "kept for later"
        assert not (await announcer.status()).agrees
        world.bird.start()
        routes = await world.wait_routes(DNS)
        assert routes[DNS].communities == ""
        status = await announcer.status()
        assert status.agrees
        assert status.problem == ""


async def test_a_bird_that_hangs_is_given_up_and_reconciled(world: World) -> None:
    announcer = await world.start()
    announcer.client.timeout = 0.5
    async with world.running(announcer):
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)
        world.bird.signal(signal.SIGSTOP)
        try:
            assert not await announcer.submit_levels({"dns": Level.WITHDRAWN})
            assert "did not answer" in announcer.problem
        finally:
            world.bird.signal(signal.SIGCONT)
        await world.wait_routes()


async def test_a_bird_that_stops_in_the_middle_of_its_replies(world: World) -> None:
    announcer = await world.start()
    announcer.client.timeout = 0.5
    async with world.running(announcer):
        await announcer.submit_levels({"dns": Level.NORMAL})
        futures = announcer.client.submit(["show protocols all"] * 2000)
        await futures[10]
        world.bird.signal(signal.SIGSTOP)
        try:
            with pytest.raises(BirdUnavailable, match="did not answer"):
                await futures[-1]
        finally:
            world.bird.signal(signal.SIGCONT)

        async def back() -> bool:
            return announcer.client.connected and (await announcer.status()).agrees

        await world.wait_for(back)
        assert await announcer.submit_levels({"dns": Level.WITHDRAWN})
        await world.wait_routes()


async def test_garbage_instead_of_bird_then_bird(world: World) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(b"0001 BIRD 2.0.12 ready.\n8003 No protocols match\n\x00\xff garbage\n")
            await writer.drain()
        writer.close()

    announcer = world.announcer()
    announcer.write_config()
    world.start_upstream()
    server = await asyncio.start_unix_server(serve, str(world.bird.socket))
    task = asyncio.create_task(announcer.run())
    try:

        async def complained() -> bool:
            return bool(announcer.problem)

        await world.wait_for(complained)
        assert not await announcer.submit_levels({"dns": Level.NORMAL})
        server.close()
        world.bird.socket.unlink(missing_ok=True)
        world.bird.start()
        await world.wait_routes(DNS)
    finally:
        server.close()
        task.cancel()
        await announcer.client.close()


async def test_passwords(world: World, tmp_path: Path) -> None:
    secret = "a 'long' \\ #secret; {}"
    path = tmp_path / "md5"
    path.write_text(secret + "\n")
    path.chmod(0o600)
    for neighbor in world.raw["bgp"]["neighbors"]:
        neighbor["password_file"] = str(path)
    async with world.running(await world.start(f'password "{secret}";')) as announcer:
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)
        assert secret not in world.bird.config.read_text()
        status = secrets_file(world.bird.config).stat()
        assert status.st_mode & 0o777 == 0o640
        with suppress(KeyError):
            assert status.st_gid == grp.getgrnam("bird").gr_gid
    path.write_text("another")
    second = world.announcer()
    await second.client.connect()
    assert await second.configure_running(), "a changed password is a changed configuration"
    await second.client.close()
    for neighbor in world.raw["bgp"]["neighbors"]:
        del neighbor["password_file"]
    world.announcer().write_config()
    assert not secrets_file(world.bird.config).exists(), "no secret is left behind"


async def test_a_wrong_password_is_no_session(world: World, tmp_path: Path) -> None:
    path = tmp_path / "md5"
    path.write_text("right\n")
    path.chmod(0o600)
    world.raw["bgp"]["neighbors"][0]["password_file"] = str(path)
    await world.start('password "wrong";')
    announcer = world.announcer()
    task = asyncio.create_task(announcer.run())
    try:
        await asyncio.sleep(2.5)
        sessions = (await announcer.status()).sessions
        assert [session.established for session in sessions] == [False, False]
    finally:
        task.cancel()
        await announcer.client.close()


async def test_ttl_security_on_both_ends(world: World) -> None:
    for neighbor in world.raw["bgp"]["neighbors"]:
        neighbor["ttl_security"] = True
    async with world.running(await world.start("ttl security on;")) as announcer:
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)


async def test_multihop(world: World) -> None:
    for neighbor in world.raw["bgp"]["neighbors"]:
        neighbor["multihop"] = 2
    async with world.running(await world.start("multihop 2;")) as announcer:
        await announcer.submit_levels({"dns": Level.NORMAL})
        await world.wait_routes(DNS)


async def test_no_bird_says_what_to_do(world: World) -> None:
    with pytest.raises(BirdUnavailable, match="start BIRD"):
        await BirdClient(world.bird.socket).connect()
