"""What was sent is looked at until it is proven, and said when it is late."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from edgenode.bgp.client import BirdClient
from edgenode.bgp.levels import Level
from edgenode.bgp.replies import Reply
from edgenode.config import Config, loads
from edgenode.control import neighbors
from edgenode.control.neighbors import Proof, Proofs, look
from tests.unit.config.test_config import GOOD

UP = "transit_v4_bgp BGP --- up 2026-01-01T05:33:55 Established"
DOWN = "transit_v6_bgp BGP --- start 2026-01-01T05:33:55 Active Socket: refused"
DRAINED = (
    "203.0.113.0/24 blackhole [web_v4_drained 05:33:55] * (210)",
    "\tBGP.as_path: 64700 64700 64700 64700",
)
COMMUNITY = "\tBGP.community: (65535,0)"


def answer(code: int, *lines: str) -> Reply:
    end = () if code else ("0000 ",)
    return Reply(code, "".join(f"{line}\n" for line in (*lines, *end)).encode())


class Bird(BirdClient):
    """Answers as it is told, and notes what it was asked."""

    def __init__(self, *rows: str, sent: tuple[str, ...] = ()) -> None:
        super().__init__(Path("/nowhere"))
        self.rows, self.sent = rows, sent
        self.asked: list[str] = []

    @property
    def connected(self) -> bool:
        return True

    def submit(self, commands: object, *, urgent: bool = False) -> list[asyncio.Future[Reply]]:
        replies = []
        for command in list(commands):  # type: ignore[call-overload]
            self.asked.append(command)
            reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            if command.startswith("show protocols"):
                reply.set_result(answer(0, *(f"1002-{row}" for row in self.rows)))
            elif self.sent:
                reply.set_result(answer(0, *(f"1007-{text}" for text in self.sent)))
            else:
                reply.set_result(answer(8001, "8001 Network not found"))
            replies.append(reply)
        return replies


@pytest.fixture
def config() -> Config:
    return loads(GOOD)


async def looked(config: Config, bird: Bird, level: Level = Level.DRAINED) -> Proof:
    return await look(bird, config, config.groups[0], level)


async def test_who_has_no_session_is_owed_nothing(config: Config) -> None:
    found = await looked(config, Bird(UP, DOWN, sent=(*DRAINED, COMMUNITY)))
    assert found.whole
    assert (found.sent, found.down) == (("transit-v4",), ("transit-v6",))
    assert found.text() == "drained was sent to transit-v4; transit-v6 has no session"


async def test_a_community_that_got_lost_is_no_proof(config: Config) -> None:
    found = await looked(config, Bird(UP, DOWN, sent=DRAINED))
    assert not found.whole
    assert found.missing == {"transit-v4": "203.0.113.0/24 was sent, but not as drained"}


async def test_with_no_session_nothing_is_proven(config: Config) -> None:
    assert not (await looked(config, Bird(DOWN))).whole


async def test_degrading_towards_one_neighbor_is_proven_by_the_path(config: Config) -> None:
    head = "203.0.113.0/24 blackhole [web_v4_normal 05:33:55] * (200)"
    towards = frozenset({("web", "transit-v4")})
    for length, proven in ((1, False), (2, False), (3, True)):
        path = "\tBGP.as_path: " + " ".join(["64700"] * length)
        bird = Bird(UP, DOWN, sent=(head, path))
        found = await look(bird, config, config.groups[0], Level.NORMAL, towards)
        assert found.whole is proven, length
        assert (await look(bird, config, config.groups[0], Level.NORMAL)).whole


async def test_a_bird_that_is_away_proves_nothing(config: Config) -> None:
    found = await look(
        BirdClient(Path("/nowhere/bird.ctl")), config, config.groups[0], Level.DRAINED
    )
    assert not found.whole
    assert "start BIRD" in found.missing["transit-v4"]


async def test_a_proof_is_told_once_and_a_late_one_too(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbors, "OFTEN", 0.01)
    monkeypatch.setattr(neighbors, "SELDOM", 0.01)
    monkeypatch.setattr(neighbors, "LATE", 0.1)
    bird, told = Bird(UP, DOWN), list[tuple[str, bool]]()
    proofs = Proofs(bird, lambda group, proof: told.append((group, proof.whole)))
    task = asyncio.create_task(proofs.run(lambda: config))
    proofs.expect("web", Level.DRAINED)
    await asyncio.sleep(0.4)
    assert told == [("web", False)]
    bird.sent = (*DRAINED, COMMUNITY)
    await asyncio.sleep(0.1)
    assert told == [("web", False), ("web", True)]
    asked = len(bird.asked)
    proofs.expect("web", Level.WITHDRAWN)
    proofs.expect("static", Level.NORMAL)
    await asyncio.sleep(0.1)
    assert len(bird.asked) == asked, "only who moves users away has to be proven"
    assert not proofs.found
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
