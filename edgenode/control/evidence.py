"""The evidence that this node has, its own and its siblings', and what is found of each service."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from edgenode.config import Config
from edgenode.config.values import Address
from edgenode.control.mesh import MeshKeeper
from edgenode.control.relays import Relays
from edgenode.mesh.owners import Owners
from edgenode.regions import Regions
from edgenode.regions.evidence import Cause, Finding, NodeStands, ServiceStands, judge
from edgenode.registry.revision import Revision
from edgenode.siblings.message import Telling
from edgenode.siblings.siblings import Note, Siblings

UNTIL_LOOKED = Finding(Cause.NONE_KNOWN, None, "not looked at yet")


class Evidence:
    """`look` finds out what is to be thought of each service; `reachable` says it.

    `run` until cancelled: it tells the siblings what this node sees, and hears them.
    """

    def __init__(
        self,
        config: Config,
        regions: Regions,
        mesh: MeshKeeper,
        relays: Relays,
        note: Note,
        on_news: Callable[[], None] = lambda: None,
        *,
        path_problem: Callable[[Address], str | None] = lambda address: None,
        revision: Callable[[], Revision | None] = lambda: None,
        before: Evidence | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_news`: a sibling says something new: to be looked at.

        `path_problem`: why the way to a worker is no good; None: it is good, or not known.

        `revision`: of the workers that are steered to.

        `before`: the evidence under the configuration before, of which all goes on.
        """
        self._regions = regions
        self._mesh = mesh
        self._relays = relays
        self._note = note
        self._path_problem = path_problem
        self._revision = revision
        self._clock = clock
        self._edges = len(config.edges)
        self._quorum = config.siblings.quorum
        self.siblings: Siblings = Siblings(
            config,
            self._telling,
            lambda: mesh.public_key,
            note,
            on_news,
            before=before.siblings if before else None,
            clock=clock,
        )
        self.run = self.siblings.run
        self._owners = Owners(config.mesh.peers if config.mesh else ())
        self._stale: dict[str, bool] = {}
        names = [service.name for service in config.services]
        known = before.findings if before else {}
        self.findings: dict[str, Finding] = {n: known.get(n, UNTIL_LOOKED) for n in names}
        self._lost: dict[str, float] = dict(before._lost) if before else {}
        """By service: since when, by our clock, nothing answers."""
        self._stands: Mapping[str, ServiceStands] = {}

    def look(self) -> bool:
        """Look at everything anew; whether that says another thing of some service."""
        now = self._clock()
        peers = [peer for peer in self._mesh.seen if peer.keepalive]
        self._stale = {peer.name: peer.stale for peer in peers}
        self._stands = self._as_lost(self._regions.stands(self._way), now)
        node = self._node(now)
        views = self.siblings.views
        news = False
        for name, stands in self._stands.items():
            told, voters = views.statements(name, now), views.voters(name, now)
            found, before = judge(stands, told, voters, node, now), self.findings[name]
            news |= found != before
            if found.cause is not before.cause:
                self._note("evidence", name, f"{found.cause}: {found.text}")
            self.findings[name] = found
        return news

    def heed(self, service: str, reachable: bool | None) -> None:
        """What is said of a service has changed: look, unless the last look has seen it.

        When a node is cut off, all services change at once.
        """
        known = self._stands.get(service)
        if known is None or known.reachable is not reachable:
            self.look()

    def _node(self, now: float) -> NodeStands:
        heard = self.siblings.views.fresh(now)
        answered = any(region.up for each in self._stands.values() for region in each.regions)
        return NodeStands(
            trouble=self._relays.trouble,
            stale=bool(self._stale) and all(self._stale.values()),
            quiet=self._edges > 0 and not heard and not answered,
            quorum=self._quorum,
        )

    def reachable(self, service: str) -> bool | None:
        """What the announcements go by."""
        return self.findings[service].reachable

    def against(self, services: Iterable[str]) -> list[str]:
        """What there is to say of services that are not well, for a group's reasons."""
        return [
            f"service {name} ({found.cause}): {found.text}"
            for name in services
            if (found := self.findings[name]).cause not in (Cause.HEALTHY, Cause.NONE_KNOWN)
        ]

    def status(self) -> list[dict[str, Any]]:
        """The services, for people and the admin API: as this node sees them, and why."""
        return [
            {
                "name": name,
                "reachable": self._stands[name].reachable if name in self._stands else None,
                "cause": found.cause.value,
                "counts_as": found.reachable,
                "evidence": found.text,
            }
            for name, found in self.findings.items()
        ]

    def _telling(self) -> Telling:
        table = self._regions.table
        return Telling(self._stands, table.revision if table else None, self._revision())

    def _as_lost(self, stands: dict[str, ServiceStands], now: float) -> dict[str, ServiceStands]:
        """Of services that nothing answers: since when, whatever their probes say.

        A worker behind a bad path is down, and its probes may well be answered.
        """
        found = {}
        for name, each in stands.items():
            if each.reachable is False:
                lost = self._lost.setdefault(name, now)
                each = replace(each, since=lost, answered=min(each.answered, lost))
            else:
                self._lost.pop(name, None)
            found[name] = each
        return found

    def _way(self, address: Address) -> str:
        """Why the way to a worker is no good; empty: it is good, or not known."""
        peer = self._owners.of(address) or ""
        if self._stale.get(peer):
            return f"the handshake of {peer} is stale"
        return self._path_problem(address) or ""
