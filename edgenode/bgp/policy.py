"""At which level a group should be, decided from what is known. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgenode.bgp.damping import Wait
from edgenode.bgp.levels import Level, more_cautious, most_cautious
from edgenode.bgp.rules import Finding, Standing, judge, rules_of
from edgenode.config import Group
from edgenode.config.schema import Rule
from edgenode.health.risefall import State

Memory = tuple[Standing, ...]
"""How each of a group's rules stands, in their order; what is missing is OPEN."""


@dataclass(frozen=True)
class Asked:
    """What operators want of a group: the level that it has at most, and why."""

    level: Level = Level.NORMAL
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """The level that a group should have, and why, in words for an operator."""

    level: Level
    reasons: tuple[str, ...]
    memory: Memory = ()
    """To be given back at the next decision."""
    wanted: Level | None = None
    """The level that it would have, if it had not to wait."""
    wait: float = 0.0
    """Seconds until it may."""


def held(decision: Decision, level: Level, wait: Wait) -> Decision:
    """A decision that has to wait at a level."""
    reason = f"waits {wait.seconds:.0f} s before it is {decision.level} again: {wait.reason}"
    return replace(
        decision,
        level=level,
        reasons=(reason, *decision.reasons),
        wanted=decision.level,
        wait=wait.seconds,
    )


def frozen(decision: Decision, asked: Asked, previous: Level, why: str) -> Decision:
    """The decision while nothing moves by itself: operators may still take away."""
    level = most_cautious(previous, asked.level)
    reasons = [f"held as it is: {why}"]
    if asked.level is level is not Level.NORMAL:
        reasons += asked.reasons
    elif decision.level is not level:
        reasons.append(f"else it would be {decision.level}: {'; '.join(decision.reasons)}")
    return replace(decision, level=level, reasons=tuple(reasons))


def decide(
    group: Group,
    checks: Mapping[str, State],
    services_reachable: Mapping[str, bool | None],
    *,
    previous: Level,
    asked: Asked = Asked(),
    memory: Memory = (),
    rules: Sequence[Rule] | None = None,
) -> Decision:
    """The level for a group: the most cautious of what broken rules and operators ask for.

    `checks` holds the state of the group's checks by name (others are ignored, a missing one is
    UNKNOWN); `services_reachable` says for each service steered in this group whether a region
    answers for it (None: no evidence); `previous` is the level in force; `rules` are the group's,
    where they are at hand. Without evidence that would tell between two levels the group stays as
    near as it can to where it is.
    """
    rules = rules_of(group) if rules is None else rules
    standings = (*memory, *(Standing.OPEN for _ in rules))
    findings = [
        judge(rule, checks, standing, previous)
        for rule, standing in zip(rules, standings, strict=False)
    ]
    memory = tuple(finding.standing for finding in findings)
    if asked.level is Level.WITHDRAWN:
        return Decision(Level.WITHDRAWN, asked.reasons, memory)
    findings += _reachability(group, services_reachable)
    broken = [each for each in findings if each.standing is Standing.BROKEN]
    doubtful = [each for each in findings if each.in_doubt]
    worst = most_cautious(*(each.level for each in broken))
    possible = most_cautious(worst, *(each.level for each in doubtful))
    evident = _between(previous, possible, worst)
    level = most_cautious(evident, asked.level)
    reasons = [reason for each in broken for reason in each.reasons]
    if asked.level is level is not Level.NORMAL:
        reasons += asked.reasons
    if possible is not worst:
        reasons += [reason for each in doubtful for reason in each.reasons]
        if level is evident:
            reasons.append(f"without evidence {evident} is kept")
    return Decision(level, tuple(reasons) or ("all that is required is up",), memory)


def _between(level: Level, possible: Level, worst: Level) -> Level:
    """A level no more cautious than what is possible, and no less than what is proven."""
    level = most_cautious(level, worst)
    return possible if more_cautious(level, possible) else level


def _reachability(group: Group, services: Mapping[str, bool | None]) -> list[Finding]:
    """What the regions say against announcing, or do not know: a rule of their own."""
    off = [name for name, reachable in services.items() if reachable is False]
    unknown = [name for name, reachable in services.items() if reachable is None]
    against: list[str] = []
    missing: list[str] = []
    if not services:
        pass
    elif group.regions_required == "all":
        against = [f"service {name} has no reachable region" for name in off]
        missing = [f"service {name}: no region was probed yet" for name in unknown]
    elif len(off) == len(services):
        against = ["none of the services has a reachable region: " + ", ".join(off)]
    elif len(off) + len(unknown) == len(services):
        missing = ["no service is known to have a reachable region: " + ", ".join(unknown)]
    if against:
        return [Finding(Level.WITHDRAWN, Standing.BROKEN, tuple(against))]
    return [Finding(Level.WITHDRAWN, Standing.OPEN, tuple(missing))] if missing else []
