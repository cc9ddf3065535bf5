"""Whether this node steers by an older registry than its siblings do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgenode.registry.revision import Revision
from edgenode.siblings.message import Served

BEHIND = 10.0
"""Seconds that a change of the registry may take from one edge to another."""
DIFFERS = 60.0
"""Seconds that a new configuration may take to all edges."""


class Staleness:
    """Asked again and again, it says what has lasted too long."""

    def __init__(self) -> None:
        self._goal: tuple[int, float] | None = None
        """The number that a sibling had and we had not, and when."""
        self._differs_since: float | None = None

    def look(self, own: Revision | None, told: Mapping[str, Served], now: float) -> str:
        """A sentence where this node is stale; `told`: by siblings that are heard."""
        if own is None:
            return ""
        others = {name: served for name, served in told.items() if served.digest != own.digest}
        return self._behind(own, others, now) or self._differs(own, others, len(told), now)

    def _behind(self, own: Revision, others: Mapping[str, Served], now: float) -> str:
        """A registry that changes all the time leaves everybody behind, but never for long."""
        mine = own.number or 0
        ahead = {
            name: served.number
            for name, served in others.items()
            if served.kind == own.kind == "etcd" and served.number and served.number > mine
        }
        if not ahead or (self._goal and mine >= self._goal[0]):
            self._goal = None
        if ahead and self._goal is None:
            self._goal = max(ahead.values()), now
        if self._goal is None or now - self._goal[1] < BEHIND:
            return ""
        return (
            f"this node steers by an older state of the registry than {_names(ahead)}: see whether "
            "it reaches etcd"
        )

    def _differs(self, own: Revision, others: Mapping[str, Served], heard: int, now: float) -> str:
        """Most siblings have other workers in their configuration."""
        same_kind = [name for name, it in others.items() if it.kind == own.kind == "config"]
        if 2 * len(same_kind) <= heard:
            self._differs_since = None
            return ""
        if self._differs_since is None:
            self._differs_since = now
        if now - self._differs_since < DIFFERS:
            return ""
        return (
            f"this node's configuration has other workers than that of {_names(same_kind)}: apply "
            "the same everywhere"
        )


def _names(names: Iterable[str]) -> str:
    *most, last = sorted(names)
    return f"{', '.join(most)} and {last}" if most else last
