"""Whether a group is announced, decided from what is known. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgenode.bgp.levels import Level
from edgenode.config import Group
from edgenode.health.risefall import State


@dataclass(frozen=True)
class Decision:
    """The level that a group should have, and why, in words for an operator."""

    level: Level
    reasons: tuple[str, ...]


def decide(
    group: Group,
    checks: Mapping[str, State],
    services_reachable: Mapping[str, bool | None],
    *,
    drained: bool,
    withdrawn: bool,
    previous: Level,
) -> Decision:
    """The level for a group.

    `checks` holds the state of the group's checks by name (others are ignored, a missing one is
    UNKNOWN); `services_reachable` says for each service steered in this group whether a region
    answers for it (None: no evidence). `drained` and `withdrawn` are the operator's intent,
    `previous` is the level in force. Evidence against the group withdraws it, evidence for it
    announces it, and without evidence it stays as it is.
    """
    if withdrawn:
        return Decision(Level.WITHDRAWN, ("withdrawn by the operator",))
    against, missing = _evidence(group, checks, services_reachable)
    if against:
        return Decision(Level.WITHDRAWN, against)
    if missing:
        kept = Level.DRAINED if drained and previous is Level.NORMAL else previous
        intent = ("drained by the operator",) if kept is not previous else ()
        return Decision(kept, (*intent, *missing, f"without evidence {previous} is kept"))
    if drained:
        return Decision(Level.DRAINED, ("drained by the operator",))
    return Decision(Level.NORMAL, ("all that is required is up",))


def _evidence(
    group: Group, checks: Mapping[str, State], services_reachable: Mapping[str, bool | None]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The reasons against announcing, and what is not known yet."""
    against: list[str] = []
    missing: list[str] = []
    for name in group.checks:
        match checks.get(name, State.UNKNOWN):
            case State.DOWN:
                against.append(f"check {name} is down")
            case State.UNKNOWN:
                missing.append(f"check {name} has no result yet")
            case State.UP:
                pass
    if not services_reachable:
        return tuple(against), tuple(missing)
    off = [name for name, reachable in services_reachable.items() if reachable is False]
    unknown = [name for name, reachable in services_reachable.items() if reachable is None]
    if group.regions_required == "all":
        against += [f"service {name} has no reachable region" for name in off]
        missing += [f"service {name}: no region was probed yet" for name in unknown]
    elif len(off) == len(services_reachable):
        against.append("none of the services has a reachable region: " + ", ".join(off))
    elif len(off) + len(unknown) == len(services_reachable):
        missing.append("no service is known to have a reachable region: " + ", ".join(unknown))
    return tuple(against), tuple(missing)
