"""What an operator's intent asks of a group at a moment. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from edgenode.state import Intent, IntentKind


@dataclass(frozen=True)
class Asked:
    """What `edgenode.bgp.policy.decide` takes."""

    drained: bool = False
    withdrawn: bool = False


def asked(intent: Intent | None, now: float, drain_time: float) -> Asked:
    """A drain is an announcement for `drain_time` seconds first, and a withdraw after.

    `now` is wall-clock time in seconds, as the intent's `since`: a drain outlasts a reboot. A
    clock that was set back makes the drained announcement last longer, never the withdraw undone.
    """
    if intent is None:
        return Asked()
    if intent.kind is IntentKind.WITHDRAWN or now - intent.since >= drain_time:
        return Asked(withdrawn=True)
    return Asked(drained=True)
