"""What BIRD does, looked at each second: whether it obeys, and what came of its sessions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from edgenode.bgp.announcer import Announcer
from edgenode.bgp.standing import Status
from edgenode.control.orders import Orders

LOOK = 1.0
"""Seconds between two looks."""
FRESH = 0.5
"""Seconds that an answer of the API waits for BIRD's."""


class BirdWatch:
    """`status` is what was seen last."""

    def __init__(
        self,
        announcer: Announcer,
        orders: Orders,
        note: Callable[[str, str, str], None],
        node: str,
        before: BirdWatch | None,
    ) -> None:
        """`before`: the one of the configuration before."""
        self.status: Status | None = before.status if before else None
        self.at: float = before.at if before else 0.0
        """When it was seen, in seconds of the monotonic clock."""
        self._announcer = announcer
        self._orders = orders
        self._note = note
        self._node = node
        self._sessions: dict[str, str] = dict(before._sessions) if before else {}
        self._refreshing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._ask()
            await asyncio.sleep(LOOK)

    async def refresh(self) -> None:
        """Look anew; a BIRD that hangs is not waited for."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.get_running_loop().create_task(self._ask())
        await asyncio.wait({self._refreshing}, timeout=FRESH)

    def established(self) -> set[str]:
        """The neighbors whose sessions stood."""
        sessions = self.status.sessions if self.status and self.status.connected else ()
        return {session.neighbor for session in sessions if session.established}

    async def _ask(self) -> None:
        asked_at = time.monotonic()
        self.status = status = await self._announcer.status()
        self.at = time.monotonic()
        if not status.connected:
            return
        if status.agrees:
            self._orders.seen_to_agree(asked_at)
        elif not status.problem and asked_at > self._orders.given_at + 1.0:
            # Somebody else told it something: `birdc configure` disables all.
            self._note("bird", self._node, "is not as it was told to be: told again")
            self._announcer.look_again()
        for session in status.sessions:
            known = self._sessions.get(session.neighbor)
            self._sessions[session.neighbor] = session.state
            ended = known == "Established" and not session.established
            if ended or (session.established and known != "Established"):
                text = f"{session.state} {session.error}".strip()
                self._note("neighbor", session.neighbor, text)
