"""What a client of the admin API may ask for, read from JSON. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgenode.state import NODE, Intent, IntentKind, Key

LONGEST = 200
"""Characters of a reason or an author: they are shown wherever it is told how a group stands."""


class RequestError(ValueError):
    """The request is not right; the text says what is wrong with it."""


@dataclass(frozen=True)
class Request:
    """The body of ``POST /v1/intent``."""

    groups: tuple[str, ...]
    """NODE ("*") among them: the node as a whole; to be withdrawn, each group that control has."""
    kind: IntentKind | None
    """None: release them."""
    reason: str = ""
    author: str = ""
    until: float | None = None
    """Wall-clock seconds of the epoch."""
    neighbor: str = ""
    """Only towards this one: to degrade, or to release that."""
    only: IntentKind | None = None
    """To be released: intents of this kind alone."""
    force: bool = False
    """Though it may be the last site; with None: though damping or hold_down would have it wait."""

    def intents(self, now: float) -> list[Intent]:
        """What is wanted, from `now` (wall-clock) on."""
        assert self.kind is not None
        return [
            Intent(
                group,
                self.kind,
                now,
                self.reason,
                self.neighbor,
                until=self.until,
                author=self.author,
            )
            for group in self.groups
        ]

    def released(self, present: Mapping[Key, Intent]) -> list[Key]:
        """Which of the present intents are released.

        A group's release ends all that is wanted of it, or what is towards the neighbor. The
        node's ends all but a pause, unless that is meant.
        """
        paused = IntentKind.PAUSED
        return [
            key
            for key, intent in present.items()
            if intent.group in self.groups
            and (not self.neighbor or intent.neighbor == self.neighbor)
            and (intent.kind is self.only if self.only else intent.kind is not paused)
        ]


def parse(body: Any, groups: Iterable[str], neighbors: Iterable[str]) -> Request:
    """Raises RequestError; LookupError (a sentence) for a group or neighbor that is not there."""
    try:
        request = Request(
            groups=tuple(dict.fromkeys(str(group) for group in _list(body["groups"]))),
            kind=None if body["kind"] is None else IntentKind(body["kind"]),
            reason=_line(body.get("reason", "")),
            author=_line(body.get("author", "")),
            until=_time(body.get("until")),
            neighbor=str(body.get("neighbor") or ""),
            only=None if body.get("only") is None else IntentKind(body["only"]),
            force=_bool(body.get("force", False)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(f"the request is not right: {error!r}") from None
    length = len(str(body.get("reason", "")))
    if length > LONGEST and request.kind not in (IntentKind.WITHDRAWN, IntentKind.PAUSED):
        # These hold at once, and are not refused for their words.
        raise RequestError(f"the reason has {length} characters: say it in {LONGEST}")
    groups = tuple(groups)
    _exists("group", set(request.groups) - {NODE}, groups)
    if NODE in request.groups and request.kind is IntentKind.WITHDRAWN:
        # Whoever asks may have read another text of the configuration than control runs with.
        request = replace(request, groups=groups)
    if request.neighbor:
        _exists("neighbor", {request.neighbor}, neighbors)
        if request.kind not in (None, IntentKind.DEGRADED):
            raise RequestError("only degrading can be meant for one neighbor")
    if NODE in request.groups and request.kind not in (
        *(None, IntentKind.MAINTENANCE, IntentKind.PAUSED),
    ):
        raise RequestError(
            "the node as a whole can be in maintenance, withdrawn or paused: name groups"
        )
    if request.kind is IntentKind.PAUSED and request.groups != (NODE,):
        raise RequestError('only the node as a whole can be paused: groups is ["*"]')
    return request


def _exists(kind: str, names: set[str], known: Iterable[str]) -> None:
    known = list(known)
    if unknown := sorted(names - set(known)):
        raise LookupError(f"no such {kind}: {', '.join(unknown)}; there are: {', '.join(known)}")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("groups is a list")
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("force is true or false")
    return value


def _line(value: Any) -> str:
    """One line, and no control characters: it goes into logs and onto terminals."""
    text = str(value)[:LONGEST]
    return "".join(char if char.isprintable() else " " for char in text).strip()


def _time(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("until is a number of seconds")
    return float(value)
