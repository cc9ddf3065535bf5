"""What each sibling said last, and for how long it counts. Pure: messages and the time in.

Ages are told by the moment at which a message arrived, on our monotonic clock. A sender's clock
says one thing only: by how much longer than usual a message took. Messages wait in WireGuard while
a handshake is made, and in the kernel while this process is busy; without that, what a sibling saw
before a common death would look as if it had seen it after.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from edgenode.regions.evidence import Statement
from edgenode.siblings.message import Message, Standing

REMEMBERED = 30
"""Messages by which it is known how long one usually takes."""
BOOTS = 4
"""Processes of a sibling that are remembered."""
LATE = 3
"""Messages of a process that has ended may still come in after the first of the next; a further
one is that of a process that lives."""
TWINS = 60.0
"""Seconds for which a sibling that was heard to be two does not count."""


@dataclass(frozen=True)
class Said:
    """What a sibling said of one service."""

    standing: Standing
    arrived: float
    answered: float | None
    """When one of its workers last answered it, by our clock."""


class View:
    """One sibling, as it is heard."""

    def __init__(self, sibling: str) -> None:
        self.sibling = sibling
        self.message: Message | None = None
        """The newest, for what is not of a service."""
        self.arrived: float | None = None
        self.twin_at: float | None = None
        """When it was last heard that two processes speak as this one sibling."""
        self._said: dict[str, Said] = {}
        self._boots: dict[str, int] = {}
        """Of each process the highest number of a message; the present one is the last."""
        self._takes: deque[float] = deque(maxlen=REMEMBERED)

    def hear(self, message: Message, now: float, services: frozenset[str]) -> bool:
        """Whether it said something new of one of `services`; others are passed over."""
        if not self._in_order(message, now):
            return False
        self.message, self.arrived = message, now
        self._takes.append(now - message.at)
        sent = now - (self._takes[-1] - min(self._takes))
        changed = False
        for standing in message.services:
            if standing.name not in services:
                continue
            before = self._said.get(standing.name)
            changed |= before is None or before.standing.reachable != standing.reachable
            answers = standing.reachable and standing.silent is not None
            answered = sent - (standing.silent or 0.0) if answers else None
            self._said[standing.name] = Said(standing, now, answered)
        return changed

    def _in_order(self, message: Message, now: float) -> bool:
        """Whether a message is news, and not of before, or of another process with its name."""
        boots = self._boots
        present = next(reversed(boots), None)
        if message.boot == present:
            if message.number < boots[message.boot]:
                return False
        elif message.boot in boots:
            if message.number <= boots[message.boot] + LATE:
                return False
            self.twin_at = now
            boots.pop(message.boot)
        else:
            self._said.clear()
        if message.boot != present:
            self._takes.clear()
        boots[message.boot] = message.number
        while len(boots) > BOOTS:
            del boots[next(iter(boots))]
        return True

    def twins(self, now: float) -> bool:
        """Whether two processes take turns at being this sibling."""
        return self.twin_at is not None and now - self.twin_at < TWINS

    def said(self, since: float) -> Mapping[str, Said]:
        """What it said of services since a moment."""
        return {name: said for name, said in self._said.items() if said.arrived >= since}


class Views:
    """All siblings'."""

    def __init__(
        self,
        siblings: Iterable[str],
        services: Iterable[str],
        stale_after: float,
        before: Views | None = None,
    ) -> None:
        """`services`: those of this node; of others nothing is kept.

        `before`: what was heard under the configuration before.
        """
        known: Mapping[str, View] = before._views if before else {}
        self._views: dict[str, View] = {name: known.get(name) or View(name) for name in siblings}
        self._services = frozenset(services)
        self._stale_after = stale_after

    def __iter__(self) -> Iterator[View]:
        return iter(self._views.values())

    def hear(self, sibling: str, message: Message, now: float) -> bool:
        """Whether it said something new of a service of ours. Raises KeyError for a stranger."""
        return self._views[sibling].hear(message, now, self._services)

    def fresh(self, now: float) -> tuple[View, ...]:
        """Those that were heard within `stale_after`."""
        return tuple(view for view in self if self._is_fresh(view, now))

    def _is_fresh(self, view: View, now: float) -> bool:
        return view.arrived is not None and now - view.arrived <= self._stale_after

    def statements(self, service: str, now: float) -> tuple[Statement, ...]:
        """What those say of a service who count: fresh ones, that are one node each."""
        since = now - self._stale_after
        return tuple(
            Statement(view.sibling, said.standing.reachable, said.answered)
            for view in self.fresh(now)
            if not view.twins(now) and (said := view.said(since).get(service))
        )

    def voters(self, service: str, now: float) -> int:
        """How many siblings steer a service, or may, for all that is known."""
        since = now - self._stale_after
        return sum(not self._is_fresh(view, now) or service in view.said(since) for view in self)
