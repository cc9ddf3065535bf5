"""FRR, GoBGP and ExaBGP as the neighbor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgenode.bgp.levels import Level
from tests.lab.bgp.speakers import SPEAKERS, Seen, Speaker

if TYPE_CHECKING:
    from tests.lab.bgp.conftest import World

V4, V6, DNS = "203.0.113.0/24", "2001:db8:113::/48", "192.0.2.0/24"
PASSWORD = "right-horse"


@pytest.fixture(params=SPEAKERS, ids=lambda speaker: speaker.__name__)
def speaker(world: World, request: pytest.FixtureRequest) -> Iterator[Speaker]:
    kind: type[Speaker] = request.param
    if not Path(kind.NEEDS).exists():
        pytest.skip(f"needs {kind.NEEDS}")
    speaker = kind(world.upstream, world.directory, PASSWORD)
    yield speaker
    speaker.stop()


async def wait_seen(world: World, speaker: Speaker, *prefixes: str, **looks: object) -> Seen | None:
    """Until the neighbor has just these, of which all look so; how the first of them looks."""
    found: dict[str, Seen] = {}

    async def same() -> bool:
        found.clear()
        found.update(speaker.routes())
        return found.keys() == set(prefixes) and all(
            getattr(seen, name) == look for seen in found.values() for name, look in looks.items()
        )

    await world.wait_for(same, 15.0)
    return found.get(prefixes[0]) if prefixes else None


@pytest.mark.usefixtures("device")
async def test_the_whole_life_of_a_route(world: World, speaker: Speaker, tmp_path: Path) -> None:
    secret = tmp_path / "md5"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    world.raw["bgp"]["neighbors"][0]["password_file"] = str(secret)
    world.raw["bgp"]["communities"] = ["64701:1", "64701:1:2"]
    announcer = world.announcer()
    announcer.write_config()
    world.bird.start()
    speaker.start()
    own = frozenset({"64701:1"})
    async with world.running(announcer):
        await announcer.submit_levels({"web": Level.NORMAL, "dns": Level.NORMAL})
        seen = await wait_seen(world, speaker, V4, V6, DNS, as_path=(64701,), communities=own)
        assert seen
        assert seen.large == {"64701:1:2"}

        await announcer.submit_levels({"web": Level.DEGRADED, "dns": Level.WITHDRAWN})
        await wait_seen(world, speaker, V4, V6, as_path=(64701,) * 3, med=100, communities=own)

        await announcer.submit_levels({"web": Level.DRAINED})
        seen = await wait_seen(world, speaker, V4, V6, as_path=(64701,) * 4)
        assert seen
        assert seen.communities in (own | {"65535:0"}, own | {"gracefulShutdown"})

        await announcer.submit_levels({"web": Level.WITHDRAWN, "dns": Level.NORMAL})
        await wait_seen(world, speaker, DNS, as_path=(64701,))
        world.bird.kill()
        await wait_seen(world, speaker)


async def test_a_wrong_password_is_no_session(
    world: World, speaker: Speaker, tmp_path: Path
) -> None:
    secret = tmp_path / "md5"
    secret.write_text("wrong")
    secret.chmod(0o600)
    world.raw["bgp"]["neighbors"][0]["password_file"] = str(secret)
    announcer = world.announcer()
    announcer.write_config()
    world.bird.start()
    speaker.start()
    async with world.running_without_sessions(announcer):
        await announcer.submit_levels({"dns": Level.NORMAL})

        async def other() -> bool:
            states = {s.neighbor: s.established for s in (await announcer.status()).sessions}
            return states["transit-6"] and not states["transit"]

        await world.wait_for(other, 15.0)
        assert speaker.routes() == {}
