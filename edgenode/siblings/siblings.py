"""This node among its siblings: tells them what it sees, and hears what they do."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Any

from edgenode.config import Config
from edgenode.config.siblings import addresses
from edgenode.siblings.conflicts import conflicts
from edgenode.siblings.link import Link, Way
from edgenode.siblings.message import Identity, MessageError, Telling, decode, encode
from edgenode.siblings.staleness import Staleness
from edgenode.siblings.views import Views

QUIET = 600.0
"""Seconds without nonsense after which it is told again."""
APART = 0.1
"""Seconds between two messages at least, however much happens."""
NEWS = 0.2
"""Seconds for which news are gathered: a sibling that says another thing all the time costs little.
"""
UNHEARD = 30.0
"""Seconds that a sibling may take to be heard before it is missed."""

Note = Callable[[str, str, str], None]


class Siblings:
    """`run()` until cancelled. Nothing in here blocks."""

    def __init__(
        self,
        config: Config,
        tell: Callable[[], Telling],
        key: Callable[[], str],
        note: Note,
        on_news: Callable[[], None] = lambda: None,
        *,
        before: Siblings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tell`: what there is to tell, asked each time. `key`: the node's public one, or "".

        `on_news`: a sibling says something new of a service of ours.

        `before`: the siblings under the configuration before, whose `run` ends before this begins.
        """
        self._config = config
        self._tell = tell
        self._key = key
        self._note = note
        self._on_news = on_news
        self._clock = clock
        # Of the process, so that another one on this node, or elsewhere, has another.
        self._boot: str = before._boot if before else secrets.token_hex(8)
        self._number: int = before._number if before else 0
        edges = config.edges
        self.views: Views = Views(
            [edge.name for edge in edges],
            [service.name for service in config.services],
            config.siblings.stale_after,
            before.views if before else None,
        )
        self._allowed = {edge.name: edge.allowed for edge in edges}
        self._links: dict[str, list[Link]] = {}
        self._soon = asyncio.Event()
        self._news: asyncio.TimerHandle | None = None
        self._since: float = before._since if before else clock()
        self._heard: set[str] = before._heard & self._allowed.keys() if before else set()
        self._missed: set[str] = before._missed & self._allowed.keys() if before else set()
        self._refused: dict[str, int] = dict(before._refused) if before else {}
        self._refused_at: dict[str, float] = dict(before._refused_at) if before else {}
        self._staleness: Staleness = before._staleness if before else Staleness()
        self.stale: str = before.stale if before else ""
        """Why this node says of itself that it is stale, as a sentence; else empty."""
        self.conflicts: tuple[str, ...] = before.conflicts if before else ()
        self._noted: frozenset[str] = before._noted if before else frozenset()
        """Those of them that were told, too."""
        self._conflict_noted_at: float = before._conflict_noted_at if before else -QUIET

    async def run(self) -> None:
        """Tell and hear until cancelled; without siblings there is nothing to do."""
        if not self._allowed:
            return
        self._links = self._made_links()
        try:
            while True:
                self._soon.clear()
                self._round(self._clock())
                await asyncio.sleep(APART)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, self._config.siblings.interval - APART)):
                        await self._soon.wait()
        finally:
            if self._news is not None:
                self._news.cancel()
                self._news = None
            for links in self._links.values():
                for link in links:
                    link.close()

    def tell_soon(self) -> None:
        """Something has changed that siblings should know."""
        self._soon.set()

    def _made_links(self) -> dict[str, list[Link]]:
        mesh = self._config.mesh
        assert mesh is not None
        own = {address.version: address for address in mesh.addresses}
        return {
            edge.name: [
                Link(
                    Way(mesh.device, own[there.version], there, self._config.siblings.port),
                    lambda datagram, name=edge.name: self._on_datagram(name, datagram),  # type: ignore[misc]
                )
                for there in addresses(mesh, edge)
            ]
            for edge in self._config.edges
        }

    def _round(self, now: float) -> None:
        telling = self._tell()
        self._number += 1
        datagrams = encode(self._identity(), telling, self._number, now)
        for links in self._links.values():
            for link in links:
                link.send(datagrams)
        self._look(telling, now)

    def _identity(self) -> Identity:
        mesh = self._config.mesh
        own = tuple(str(address) for address in mesh.addresses) if mesh else ()
        return Identity(self._config.node.name, self._boot, own, self._key())

    def _on_datagram(self, sibling: str, datagram: bytes) -> None:
        now = self._clock()
        try:
            message = decode(datagram)
        except MessageError as error:
            self._refuse(sibling, str(error), now)
            return
        if self.views.hear(sibling, message, now) and self._news is None:
            self._news = asyncio.get_running_loop().call_later(NEWS, self._tell_news)

    def _tell_news(self) -> None:
        self._news = None
        self._on_news()

    def _refuse(self, sibling: str, why: str, now: float) -> None:
        self._refused[sibling] = self._refused.get(sibling, 0) + 1
        if now - self._refused_at.get(sibling, -QUIET) >= QUIET:
            text = (
                f"what it tells is refused, and it counts as silent: {why}; see which edgenode "
                f"runs there, and what else sends to port {self._config.siblings.port}"
            )
            self._note("sibling", sibling, text)
        self._refused_at[sibling] = now

    def _look(self, telling: Telling, now: float) -> None:
        """What follows from who is heard, and from what they say of themselves."""
        fresh = self.views.fresh(now)
        heard = {view.sibling for view in fresh}
        for name in sorted(heard - self._heard):
            self._note("sibling", name, "is heard")
        for name in sorted(self._heard - heard):
            self._note("sibling", name, "is not heard any more, and counts for nothing")
        self._missed -= heard
        if now - self._since >= UNHEARD:
            never = {view.sibling for view in self.views if view.arrived is None}
            for name in sorted(never - self._missed):
                self._missed.add(name)
                self._note("sibling", name, f"was never heard: {_TO_BE_HEARD}")
        self._heard = heard
        told = {
            view.sibling: view.message.registry
            for view in fresh
            if view.message and view.message.registry and not view.twins(now)
        }
        stale = self._staleness.look(telling.registry, told, now)
        if stale != self.stale and (bool(stale) is not bool(self.stale)):
            self._note("sibling", self._config.node.name, stale or "is not stale any more")
        self.stale = stale
        found = conflicts(self._identity(), fresh, self._allowed, now)
        news = [text for text in found if text not in self._noted]
        self._noted = self._noted.intersection(found)
        # A sibling that claims another thing each second is not heard of each second, and hides
        # for a while only what others claim.
        if news and (not self.conflicts or now - self._conflict_noted_at >= QUIET):
            self._conflict_noted_at = now
            self._note("sibling", self._config.node.name, "; ".join(news))
            self._noted = frozenset(found)
        self.conflicts = found

    def status(self, now: float) -> dict[str, Any]:
        """For people, the admin API and the metrics."""
        fresh = {view.sibling for view in self.views.fresh(now)}
        return {
            "edges": [
                {
                    "name": view.sibling,
                    "heard_s_ago": None if view.arrived is None else round(now - view.arrived, 1),
                    "fresh": view.sibling in fresh,
                    "node": view.message.node if view.message else None,
                    "mesh": [str(a) for a in view.message.mesh] if view.message else [],
                    "table_revision": view.message.table if view.message else None,
                    "registry": view.message.registry.model_dump()
                    if view.message and view.message.registry
                    else None,
                    "services": {
                        name: {
                            "reachable": said.standing.reachable,
                            "regions": {
                                region: {"up": up, "down": down}
                                for region, (up, down) in said.standing.regions.items()
                            },
                        }
                        for name, said in view.said(now - self._config.siblings.stale_after).items()
                    },
                    "refused": self._refused.get(view.sibling, 0),
                    "problem": self._problem(view.sibling),
                }
                for view in self.views
            ],
            "stale": self.stale,
            "conflicts": list(self.conflicts),
        }

    def _problem(self, sibling: str) -> str:
        """Of all its ways, where none works."""
        problems = {link.problem for link in self._links.get(sibling, ())}
        if problems and "" not in problems:
            return f"nothing can be sent to it: {', '.join(sorted(problems))}"
        return f"it was never heard: {_TO_BE_HEARD}" if sibling in self._missed else ""


_TO_BE_HEARD = (
    "it needs this node as a mesh peer with edge = true, this node's mesh address among its "
    "`allowed`, the same siblings.port, and a firewall that lets that in"
)
