"""What BIRD was told, and what of it is not confirmed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from edgenode.bgp.announcer import Announcer
from edgenode.bgp.levels import Level


class Orders:
    """The levels in force as far as control is concerned. Orders are given in their order."""

    def __init__(self, announcer: Announcer, groups: Mapping[str, Level]) -> None:
        self._announcer = announcer
        self._levels = dict(groups)
        self._unconfirmed: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.given_at = 0.0
        """Monotonic time of the newest order."""

    @property
    def levels(self) -> Mapping[str, Level]:
        """By group, as ordered last."""
        return self._levels

    def succeed(self, before: Orders) -> None:
        """Go on from the orders under another configuration, nothing of which is given again.

        A withdraw that they wait for is waited for, of a group that is configured no more as well.
        """
        kept = {name: level for name, level in before._levels.items() if name in self._levels}
        self._levels |= kept
        self._announcer.succeed(before._announcer, kept)
        self._unconfirmed = before._unconfirmed
        self.given_at = before.given_at

    def take_over(self, found: Mapping[str, Level]) -> None:
        """Levels that BIRD has already."""
        self._levels |= found

    def give(self, levels: Mapping[str, Level]) -> None:
        """Written to BIRD before this returns; its answer is waited for behind it."""
        self._levels |= levels
        self.given_at = now = time.monotonic()
        stamps: dict[str, float] = {}
        for name, level in levels.items():
            if level is Level.WITHDRAWN:
                # Asked for again, it does not get more time.
                stamps[name] = self._unconfirmed.setdefault(name, now)
            else:
                self._unconfirmed.pop(name, None)
        confirmed = self._announcer.submit_levels(levels)

        async def wait() -> None:
            if await confirmed:
                for name, at in stamps.items():
                    if self._unconfirmed.get(name) == at:
                        del self._unconfirmed[name]

        task = asyncio.get_running_loop().create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def withdraw_since(self) -> float | None:
        """Since when (monotonic) a withdraw waits to be confirmed."""
        return min(self._unconfirmed.values(), default=None)

    def seen_to_agree(self, asked_at: float) -> None:
        """BIRD, asked at a moment, did all that it had been told: no word of what came later."""
        # In place: the orders before may still wait for an answer, and look there.
        for name in [name for name, at in self._unconfirmed.items() if at < asked_at]:
            del self._unconfirmed[name]
