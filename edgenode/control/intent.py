"""What operators' intents ask of a group at a moment. Pure.

Of several intents the most cautious holds. A drain is an announcement as the lesser choice first,
until the users have gone or its time is over, and a withdraw after. It never announces what is not
announced: there is nobody to be moved away gently.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgenode.bgp.levels import Level, more_cautious
from edgenode.bgp.policy import Asked
from edgenode.state import NODE, Intent, IntentKind

_DRAINING = (IntentKind.DRAINED, IntentKind.MAINTENANCE)
_WORDS = {
    IntentKind.DRAINED: "drained",
    IntentKind.MAINTENANCE: "in maintenance",
    IntentKind.WITHDRAWN: "withdrawn",
    IntentKind.DEGRADED: "degraded",
    IntentKind.PAUSED: "paused",
}


@dataclass(frozen=True)
class Drain:
    """How far a group's drain has come."""

    time: float
    """Seconds after which it is over in any case."""
    idle: bool = False
    """Whether no user has been served for long enough."""


def asked(intents: Iterable[Intent], now: float, drain: Drain, previous: Level) -> Asked:
    """The most cautious level that the intents of a group, and of the node, ask for.

    `now` is wall-clock time in seconds, as the intents' `since`: a drain outlasts a reboot. A
    clock that was set back makes the drained announcement last longer, never the withdraw undone.
    `previous` is the level in force.
    """
    level = Level.NORMAL
    reasons: list[str] = []
    for intent in intents:
        want, note = _level(intent, now, drain, previous)
        if more_cautious(want, level):
            level, reasons = want, []
        if want is level is not Level.NORMAL:
            reasons.append(words(intent) + note)
    return Asked(level, tuple(reasons))


def ended(intents: Iterable[Intent], now: float) -> list[Intent]:
    """Those whose time is over."""
    return [intent for intent in intents if intent.until is not None and intent.until <= now]


def words(intent: Intent) -> str:
    """An intent in words: what, by whom, why."""
    what = _WORDS.get(intent.kind, intent.kind.value)
    by = intent.author or "the operator"
    if intent.neighbor:
        what += f" towards {intent.neighbor}"
    where = "the node is " if intent.group == NODE else ""
    return f"{where}{what} by {by}" + (f" ({intent.reason})" if intent.reason else "")


def _level(intent: Intent, now: float, drain: Drain, previous: Level) -> tuple[Level, str]:
    match intent.kind:
        case IntentKind.WITHDRAWN:
            return Level.WITHDRAWN, ""
        case IntentKind.DRAINED | IntentKind.MAINTENANCE:
            if previous is Level.WITHDRAWN:
                return Level.WITHDRAWN, ""
            if now - intent.since >= drain.time:
                return Level.WITHDRAWN, ", drain_time is over"
            if drain.idle:
                return Level.WITHDRAWN, ", no user is left"
            return Level.DRAINED, ""
        case IntentKind.DEGRADED if not intent.neighbor:
            return Level.DEGRADED, ""
        case _:
            return Level.NORMAL, ""
