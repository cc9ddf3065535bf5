"""Whether a rule of a group is broken: a state machine, and nothing of it is hidden.

            share of checks that are up < low
    WHOLE ────────────────────────────────────▶ BROKEN
          ◀────────────────────────────────────
                       share ≥ high

"all" and "any" are quorums of which both marks are the same: every check, or one. A check that is
UNKNOWN may be up or down: a rule only moves when that makes no difference. Between the marks, and
without evidence, it stays. The state is the caller's to keep. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from edgenode.bgp.levels import Level, more_cautious
from edgenode.config import Group
from edgenode.config.schema import Rule
from edgenode.health.risefall import State


class Standing(StrEnum):
    """How a rule stands."""

    WHOLE = "whole"
    BROKEN = "broken"
    OPEN = "open"
    """There never was the evidence to say."""


@dataclass(frozen=True)
class Finding:
    """A rule's state, and why, in words for an operator."""

    level: Level
    """What the group is at most while the rule is broken."""
    standing: Standing
    reasons: tuple[str, ...] = ()
    """What is against it, or what is missing; empty for a rule that is whole beyond doubt."""

    @property
    def in_doubt(self) -> bool:
        """It is not broken as far as is known, but may be."""
        return self.standing is not Standing.BROKEN and bool(self.reasons)


def rules_of(group: Group) -> tuple[Rule, ...]:
    """All rules of a group, in their order: `checks` is the first, where there are any."""
    short = (Rule(checks=group.checks),) if group.checks else ()
    return short + group.rules


def marks(rule: Rule) -> tuple[float, float]:
    """The shares of checks below which a rule breaks, and from which on it is whole again."""
    match rule.need:
        case "all":
            return 1.0, 1.0
        case "any":
            return 1 / len(rule.checks), 1 / len(rule.checks)
        case "quorum":
            return rule.low, rule.high


def judge(rule: Rule, checks: Mapping[str, State], standing: Standing, previous: Level) -> Finding:
    """The next state of a rule from its present one.

    `previous` is the group's level in force: with a rule that is OPEN and a share between the
    marks it tells on which side a control before us left off. A group that was not announced at
    all begins on the cautious side.
    """
    level = Level(rule.level)
    states = {name: checks.get(name, State.UNKNOWN) for name in rule.checks}
    count = list(states.values()).count
    least = count(State.UP) / len(states)
    most = (count(State.UP) + count(State.UNKNOWN)) / len(states)
    low, high = marks(rule)
    if most < low:
        standing = Standing.BROKEN
    elif least >= high:
        standing = Standing.WHOLE
    elif standing is Standing.OPEN and least == most:
        standing = Standing.WHOLE if more_cautious(level, previous) else Standing.BROKEN
    if standing is Standing.BROKEN:
        return Finding(level, standing, _against(rule, states))
    if standing is Standing.WHOLE and least >= low:
        return Finding(level, standing)
    missing = [name for name, state in states.items() if state is State.UNKNOWN]
    return Finding(level, standing, tuple(f"check {name} has no result yet" for name in missing))


def _against(rule: Rule, states: Mapping[str, State]) -> tuple[str, ...]:
    up = [name for name, state in states.items() if state is State.UP]
    names = ", ".join(states)
    if rule.need == "any":
        return (f"none of the checks {names} is up",)
    if rule.need == "quorum":
        share = f"{len(up)} of {len(states)} checks ({names}) are up"
        below = len(up) / len(states) < rule.low
        return (f"{share}, {'less than ' if below else 'not yet '}{_mark(rule, below)}",)
    down = [name for name, state in states.items() if state is State.DOWN]
    if down:
        return tuple(f"check {name} is down" for name in down)
    return tuple(f"check {name} is not known to be up again" for name in states if name not in up)


def _mark(rule: Rule, below: bool) -> str:
    return f"{rule.low if below else rule.high:.0%}"
