"""How the announcer goes about a BIRD that comes and goes; with real BIRD it is a lab test."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from edgenode.bgp import announcer
from edgenode.bgp.client import BirdClient, BirdUnavailable
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
