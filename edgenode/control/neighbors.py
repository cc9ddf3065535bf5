"""What the neighbors were really sent of a group, and what they send us of our prefixes.

BIRD is asked over a connection of its own: on the announcer's a withdraw would wait behind the
questions. A BIRD that hangs is not waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from edgenode.bgp.client import BirdClient, BirdError, BirdUnavailable
from edgenode.bgp.filters import Towards
from edgenode.bgp.lastsite import Judgement, View, judge
from edgenode.bgp.levels import Level
from edgenode.bgp.names import SESSIONS
from edgenode.bgp.protocols import parse_protocols, sessions
from edgenode.bgp.replies import Reply
from edgenode.bgp.routes import as_told, ask_received, ask_sent, parse_routes
from edgenode.config import Config, Group, Neighbor

PATIENCE = 1.0
"""Seconds that an operator's command waits for BIRD's view."""
OFTEN, SELDOM = 0.2, 5.0
"""Seconds between two looks at what was sent: at first, and from `LATE` on."""
LATE = 5.0
"""Seconds after which it is said that a neighbor was not sent what it should have been."""


@dataclass(frozen=True)
class Proof:
    """What was seen in BIRD's export tables of a group at a level."""

    level: Level
    at: float
    """Wall-clock seconds of the epoch."""
    missing: Mapping[str, str]
    """By neighbor that was not sent what the level means: why."""
    sent: tuple[str, ...]
    """The neighbors that were."""
    down: tuple[str, ...] = ()
    """The neighbors without a session: they have nothing of ours, and are owed nothing."""

    @property
    def whole(self) -> bool:
        """Whether every neighbor with a session was sent it, and there is one."""
        return bool(self.sent) and not self.missing

    def text(self) -> str:
        """In words."""
        parts = [f"{self.level} was sent to {', '.join(self.sent) or 'nobody'}"]
        parts += [f"not to {name}: {why}" for name, why in self.missing.items()]
        parts += [f"{name} has no session" for name in self.down]
        return "; ".join(parts)


async def look(
    client: BirdClient, config: Config, group: Group, level: Level, towards: Towards = frozenset()
) -> Proof:
    """Look what the neighbors were sent; `towards`: to whom alone groups are degraded."""
    questions = [
        (neighbor, str(prefix), ask_sent(neighbor, prefix))
        for neighbor in config.bgp.neighbors
        for prefix in group.prefixes
        if neighbor.address.version == prefix.version
    ]
    # The sessions alone: a node may have thousands of protocols, and many groups to be looked at.
    shown = f"show protocols {SESSIONS}"
    first, *replies = await _ask(client, [shown, *(each for _, _, each in questions)])
    down = _down(config, first)
    missing: dict[str, str] = {}
    for (neighbor, prefix, _), reply in zip(questions, replies, strict=True):
        degraded = level is Level.DEGRADED or (group.name, neighbor.name) in towards
        more = config.degraded.prepend if degraded else 0
        if level is Level.DRAINED:
            more = config.bgp.drain_prepend
        length = 1 + neighbor.prepend + group.prepend + more
        why = _why_not(level, prefix, reply, length)
        if why and neighbor.name not in (*missing, *down):
            missing[neighbor.name] = why
    names = dict.fromkeys(neighbor.name for neighbor, _, _ in questions)
    sent = tuple(name for name in names if name not in (*missing, *down))
    return Proof(level, time.time(), missing, sent, tuple(n for n in names if n in down))


def _down(config: Config, reply: Reply | str) -> set[str]:
    if isinstance(reply, str):
        return set()  # each question has the same answer
    found = sessions(config.bgp.neighbors, parse_protocols(reply))
    return {session.neighbor for session in found if not session.established}


async def others(
    client: BirdClient, config: Config, groups: Iterable[Group]
) -> Mapping[str, Judgement]:
    """What is known of other sites that announce the prefixes of groups."""
    asked = [neighbor for neighbor in config.bgp.neighbors if neighbor.last_site_view]
    replies = await _ask(client, [ask_received(neighbor) for neighbor in asked])
    views = [_view(neighbor, reply) for neighbor, reply in zip(asked, replies, strict=True)]
    prefixes = [str(prefix) for group in groups for prefix in group.prefixes]
    return judge(prefixes, views, config.bgp.asn, config.bgp.neighbors)


def _view(neighbor: Neighbor, reply: Reply | str) -> View:
    if isinstance(reply, str):
        return View(neighbor, problem=f"could not be looked at ({reply})")
    try:
        return View(neighbor, tuple(parse_routes(reply)))
    except ValueError as error:
        return View(neighbor, problem=f"could not be looked at ({error})")


def _why_not(level: Level, prefix: str, reply: Reply | str, length: int) -> str:
    """Empty where a neighbor was sent what it should have been, with a path of that length."""
    if isinstance(reply, str):
        return reply
    try:
        routes = parse_routes(reply)
    except ValueError as error:
        return str(error)
    if as_told(level, routes):
        short = any(len(route.path) < length for route in routes)
        return f"{prefix} was sent, but not degraded" if short else ""
    if not routes:
        return f"{prefix} was not sent"
    return f"{prefix} was sent, but not as {level}"


async def _ask(client: BirdClient, questions: list[str]) -> list[Reply | str]:
    """Replies, failed ones too, or why there is none."""
    if not questions:
        return []
    try:
        async with asyncio.timeout(PATIENCE):
            if not client.connected:
                await client.connect()
            return list(await asyncio.gather(*client.submit(questions)))
    except (BirdUnavailable, BirdError) as error:
        return [str(error)] * len(questions)
    except TimeoutError:
        return [f"BIRD has not answered within {PATIENCE:g} s"] * len(questions)


class Proofs:
    """Looks whether a route that is to move users away was sent to each neighbor, and says so."""

    def __init__(
        self,
        client: BirdClient,
        tell: Callable[[str, Proof], None],
    ) -> None:
        """`tell` hears once a level that a group is proven, or late."""
        self._client = client
        self._tell = tell
        self._pending: dict[str, tuple[Level, float]] = {}
        self._late: set[str] = set()
        self._wake = asyncio.Event()
        self.found: dict[str, Proof] = {}
        """By group: what was seen last."""

    def take_over(self, before: Proofs) -> None:
        """Go on from what was seen, and is still to be seen, under another configuration."""
        self._pending |= before._pending
        self._late |= before._late
        self.found |= before.found
        self._wake.set()

    def expect(self, group: str, level: Level) -> None:
        """A group was given a level."""
        self.found.pop(group, None)
        self._late.discard(group)
        if level not in (Level.DEGRADED, Level.DRAINED):
            self._pending.pop(group, None)
            return
        self._pending[group] = level, time.monotonic()
        self._wake.set()

    async def run(self, config: Callable[[], Config]) -> None:
        """Look until cancelled."""
        while True:
            if not self._pending:
                self._wake.clear()
                await self._wake.wait()
            while self._pending:
                groups = {group.name: group for group in config().groups}
                for name, (level, since) in list(self._pending.items()):
                    if name not in groups:
                        self._pending.pop(name, None)
                        continue
                    proof = await look(self._client, config(), groups[name], level)
                    if self._pending.get(name) == (level, since):
                        self._heed(name, proof, since)
                young = any(time.monotonic() - s < LATE for _, s in self._pending.values())
                await asyncio.sleep(OFTEN if young else SELDOM)

    def _heed(self, name: str, proof: Proof, since: float) -> None:
        self.found[name] = proof
        if proof.whole:
            del self._pending[name]
            self._tell(name, proof)
        elif name not in self._late and time.monotonic() - since > LATE:
            self._late.add(name)
            self._tell(name, proof)
