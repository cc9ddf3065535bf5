"""When control's heart may beat. Pure.

A beat says to the lifeline: what is announced was decided just now, and BIRD obeys. Whatever
breaks that must stop the heart, for the lifeline is the only one left to act on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgenode.config import Check

OBEDIENCE = 2.0
"""Seconds that BIRD may take to confirm a withdraw before the lifeline has to do it."""

LATE = 5.0
"""Seconds without a round of decisions after which control does not work any more."""

BLIND = 30.0
"""Seconds, at least, without an observation of a check after which its state is only a memory."""


def unseen(checks: Iterable[Check], observed: Mapping[str, float], now: float) -> frozenset[str]:
    """The checks of which nothing was seen for too long, by our own fault: no verdict is made then.

    They count as down, for the groups that hang on them and for no other. `observed` has the time
    of each one's last observation.
    """
    return frozenset(
        check.name
        for check in checks
        if now - observed[check.name] > max(BLIND, 3 * (check.interval + check.timeout))
    )


@dataclass(frozen=True)
class Round:
    """What is known at the end of a round of decisions; times in seconds of one clock."""

    due: float
    """When this round should have been."""
    now: float
    interval: float
    settled: bool
    """BIRD was reached since the start, and does what was decided, or did so before."""
    withdraw_since: float | None
    """When a withdraw was asked for that BIRD has not confirmed."""
    lifeline_held: bool
    bird_agrees: bool
    """BIRD is connected and was brought to the wanted levels."""


def at_work(last_round: float | None, now: float) -> bool:
    """Whether the service manager may hear that control lives; `last_round`: when it last decided.

    Rounds count, and not beats. A beat is refused for what lies outside (BIRD is away): the
    lifeline acts on it, and a restart would mend nothing, but forget what the checks know and use
    up grace. So control is left alive: it still hears operators and says in `status` what it lacks.
    One whose rounds fail or hang decides nothing: it is killed.

    Before the first round (None) BIRD may be waited for, as long as the lifeline holds.
    """
    return last_round is None or now - last_round <= LATE


def may_beat(last: Round) -> str | None:
    """None where it may, else the reason why not: the same words while it lasts."""
    if not last.settled:
        return "BIRD was not reached yet"
    if last.now - last.due > last.interval:
        return "the round of decisions came late"
    if last.withdraw_since is not None and last.now - last.withdraw_since > OBEDIENCE:
        return f"BIRD has not confirmed a withdraw within {OBEDIENCE:g} s"
    if not last.lifeline_held and not (last.bird_agrees and last.withdraw_since is None):
        # The first beat makes the device, and all that BIRD has enabled goes out with it.
        return "BIRD is not as wanted, and the device is not to be made before it is"
    return None
