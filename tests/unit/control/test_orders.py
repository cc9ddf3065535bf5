"""Orders to BIRD: written at once, and a withdraw counts until it is confirmed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import cast

from edgenode.bgp.announcer import Announcer
from edgenode.bgp.levels import Level
from edgenode.control.orders import Orders


class FakeAnnouncer:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.written: list[Mapping[str, Level]] = []
        self.answers: list[asyncio.Future[bool]] = []

    def submit_levels(self, levels: Mapping[str, Level]) -> Awaitable[bool]:
        self.written.append(dict(levels))
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]

    def succeed(self, before: Announcer, levels: Mapping[str, Level]) -> None:
        self.assumed = dict(levels)

    async def answer(self, number: int, confirmed: bool) -> None:
        self.answers[number].set_result(confirmed)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def orders() -> tuple[FakeAnnouncer, Orders]:
    announcer = FakeAnnouncer()
    return announcer, Orders(cast(Announcer, announcer), {"a": Level.NORMAL, "b": Level.NORMAL})


async def test_an_order_is_written_before_giving_it_returns() -> None:
    announcer, given = orders()
    given.give({"a": Level.WITHDRAWN})
    assert announcer.written == [{"a": Level.WITHDRAWN}]
    assert given.levels == {"a": Level.WITHDRAWN, "b": Level.NORMAL}


async def test_a_withdraw_waits_until_it_is_confirmed() -> None:
    announcer, given = orders()
    given.give({"a": Level.WITHDRAWN})
    assert given.withdraw_since is not None
    await announcer.answer(0, False)
    assert given.withdraw_since is not None
    given.give({"a": Level.WITHDRAWN})
    await announcer.answer(1, True)
    assert given.withdraw_since is None


async def test_asked_again_it_does_not_get_more_time() -> None:
    _, given = orders()
    given.give({"a": Level.WITHDRAWN})
    first = given.withdraw_since
    given.give({"a": Level.WITHDRAWN})
    assert given.withdraw_since == first


async def test_anothers_confirmation_says_nothing() -> None:
    announcer, given = orders()
    given.give({"a": Level.WITHDRAWN})
    given.give({"b": Level.DRAINED})
    await announcer.answer(1, True)
    assert given.withdraw_since is not None


async def test_an_early_confirmation_does_not_cover_a_later_withdraw() -> None:
    announcer, given = orders()
    given.give({"a": Level.WITHDRAWN})
    given.give({"a": Level.NORMAL})
    given.give({"a": Level.WITHDRAWN})
    await announcer.answer(0, True)
    assert given.withdraw_since is not None
    await announcer.answer(2, True)
    assert given.withdraw_since is None


async def test_what_bird_was_seen_to_do_covers_what_was_asked_before() -> None:
    _, given = orders()
    given.give({"a": Level.WITHDRAWN})
    between = time.monotonic() + 0.001
    await asyncio.sleep(0.002)
    given.give({"b": Level.WITHDRAWN})
    given.seen_to_agree(between)
    assert given.withdraw_since is not None
    given.seen_to_agree(time.monotonic() + 1)
    assert given.withdraw_since is None


async def test_under_another_configuration_nothing_is_given_again_or_forgotten() -> None:
    announcer, before = orders()
    before.give({"a": Level.WITHDRAWN, "b": Level.DRAINED})
    fresh = FakeAnnouncer()
    after = Orders(cast(Announcer, fresh), {"b": Level.WITHDRAWN, "c": Level.WITHDRAWN})
    after.succeed(before)
    assert fresh.written == []
    assert after.levels == {"b": Level.DRAINED, "c": Level.WITHDRAWN}
    assert fresh.assumed == {"b": Level.DRAINED}
    assert after.withdraw_since is not None, "of a group that is configured no more"
    await announcer.answer(0, True)
    assert after.withdraw_since is None


async def test_an_answer_to_the_orders_before_counts_for_those_after() -> None:
    old, given = orders()
    _, after = orders()
    given.give({"a": Level.WITHDRAWN})
    after.succeed(given)
    after.seen_to_agree(0.0)
    await old.answer(0, True)
    assert after.withdraw_since is None
