"""How the announcer goes about a BIRD that comes and goes; with real BIRD it is a lab test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from edgenode.bgp import announcer
from edgenode.bgp.client import BirdClient, BirdUnavailable
from edgenode.bgp.levels import Level
from edgenode.bgp.replies import Reply
from edgenode.config import Config


class Fleeting:
    """Away twice, then there, but only for a moment each time."""

    connected = False

    def __init__(self) -> None:
        self.tries = 0

    async def connect(self) -> None:
        self.tries += 1
        if self.tries <= 3:
            raise BirdUnavailable("away")


async def test_after_a_connection_the_next_try_comes_soon_again(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []

    class Enough(Exception):
        pass

    def backoff(attempt: int) -> float:
        waited.append(attempt)
        if len(waited) == 5:
            raise Enough
        return 0.0

    async def broken(_: announcer.Announcer) -> None:
        raise BirdUnavailable("gone at once")

    monkeypatch.setattr(announcer, "backoff", backoff)
    monkeypatch.setattr(announcer.Announcer, "_stay", broken)
    tried = announcer.Announcer(config, cast(BirdClient, Fleeting()), passwords={})
    with pytest.raises(Enough):
        await asyncio.wait_for(tried.run(), 2)
    assert waited == [0, 1, 2, 0, 0]


class Obedient:
    """A BIRD that takes everything, and runs with some other text."""

    connected = True
    version = (2, 0, 12)
    socket = Path("/run/bird.ctl")

    def __init__(self) -> None:
        self.told: list[str] = []
        self.when_asked_to_check: Callable[[], None] = lambda: None

    def submit(self, commands: Sequence[str]) -> list[asyncio.Future[Reply]]:
        self.told += commands
        futures = []
        for _ in commands:
            futures.append(asyncio.get_running_loop().create_future())
            futures[-1].set_result(Reply(0, b"0000 another text\n"))
        return futures

    async def ask(self, command: str) -> Reply:
        if command.startswith("configure check"):
            self.when_asked_to_check()
        return await self.submit([command])[0]


async def test_an_announcer_that_was_followed_by_another_configures_no_more(
    config: Config, tmp_path: Path
) -> None:
    """In the middle of it, too: its text would bring back what the other one has withdrawn."""
    bird = Obedient()
    beside = config.bgp.model_copy(update={"config": tmp_path / "bird.conf"})
    config = config.model_copy(update={"bgp": beside})
    client = cast(BirdClient, bird)
    first = announcer.Announcer(config, client, passwords={})
    second = announcer.Announcer(config, client, passwords={})
    name = config.groups[0].name

    def follow() -> None:
        second.succeed(first, {name: Level.WITHDRAWN})

    bird.when_asked_to_check = follow
    assert await first.configure_running() is False
    assert "configure" not in bird.told
    assert await first.configure_running() is False
    bird.when_asked_to_check = lambda: None
    with pytest.raises(announcer.NotOurConfiguration):  # this BIRD never says that it has ours
        await second.configure_running()
    assert bird.told.count("configure") == 1
    assert second.wanted == {name: Level.WITHDRAWN}
