"""What upstreams hold against a route of ours that flaps, and how long to wait because of it. Pure.

Routers that damp (RFC 2439) add a penalty to a route for each of its changes. It halves every
`half_life`; a route whose penalty passes `suppress` is hidden until it has decayed to `reuse`, at
most for `max_suppress`. Nobody tells us our penalty, so we keep account of what our own UPDATEs
cost with the dearest of the common routers, and before a group attracts more than it does we see
to it that the price is there, and the price of taking it back as well: the way down must always be
free, for a withdraw is never delayed. So no upstream that damps as configured hides a route of
ours, but for changes that were not ours to time (`force`, the lifeline).

The model is that of RFC 2439. RFC 7196 finds the routers' thresholds (2000 and 3000) far too low
and recommends a `suppress` of 6000 at least; what a change costs is as it lists it for the routers.

Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgenode.bgp.levels import Level, more_cautious
from edgenode.config.schema import Damping

WITHDRAWAL = 1000.0
READVERTISEMENT = 1000.0
"""Of a route that was withdrawn before and is remembered: Juniper's; Cisco counts none."""
ATTRIBUTES = 500.0
"""Of a route that stays and changes: prepends, MED, communities."""


@dataclass(frozen=True)
class History:
    """What is held against one group's routes."""

    penalty: float = 0.0
    """As it was at `at`; see `present`."""
    at: float = 0.0
    """When it last changed."""
    withdrawn_at: float | None = None
    """When it was last withdrawn: what `hold_down` counts from."""


@dataclass(frozen=True)
class Wait:
    """How long a group has to stay as it is; `seconds` is 0 where it has not."""

    seconds: float = 0.0
    reason: str = ""


def ceiling(damping: Damping) -> float:
    """The highest penalty: from it a route takes `max_suppress` down to `reuse`."""
    return damping.reuse * math.exp2(min(damping.max_suppress / damping.half_life, 60.0))


def present(history: History, now: float, damping: Damping) -> float:
    """The penalty now."""
    elapsed = max(0.0, now - history.at)
    return history.penalty * math.exp2(-elapsed / damping.half_life)


def forgotten(damping: Damping) -> float:
    """Where routers forget a route's past: at half of `reuse`, as Cisco's do."""
    return damping.reuse / 2


def cost(before: Level, after: Level, penalty: float, damping: Damping) -> float:
    """What going from one level to another adds to a penalty."""
    if before is after:
        return 0.0
    if after is Level.WITHDRAWN:
        return WITHDRAWAL
    if before is Level.WITHDRAWN:
        return READVERTISEMENT if penalty >= forgotten(damping) else 0.0
    return ATTRIBUTES


def reserve(level: Level) -> float:
    """The dearest way down from a level, step by step."""
    match level:
        case Level.NORMAL:
            return 2 * ATTRIBUTES + WITHDRAWAL
        case Level.DEGRADED:
            return ATTRIBUTES + WITHDRAWAL
        case Level.DRAINED:
            return WITHDRAWAL
        case Level.WITHDRAWN:
            return 0.0


def charge(history: History, before: Level, after: Level, now: float, damping: Damping) -> History:
    """The history after a change of level."""
    if before is after:
        return history
    penalty = present(history, now, damping)
    penalty = min(penalty + cost(before, after, penalty, damping), ceiling(damping))
    withdrawn_at = now if after is Level.WITHDRAWN else history.withdrawn_at
    return History(penalty, max(now, history.at), withdrawn_at)


def wait(
    history: History, before: Level, after: Level, now: float, damping: Damping, hold_down: float
) -> Wait:
    """How long a group must stay at `before` until it may go to `after`.

    Never a moment where that is more cautious. By damping at most `max_suppress` from the last
    change: by then whoever hides the route shows it again.
    """
    if not more_cautious(before, after):
        return Wait()
    held = 0.0
    if before is Level.WITHDRAWN and history.withdrawn_at is not None:
        held = history.withdrawn_at + hold_down - now
    damped = _decay(history, before, after, now, damping) if damping.enabled else 0.0
    if max(held, damped) <= 0:
        return Wait()
    if held > damped:
        return Wait(held, f"hold_down {hold_down:g} s after a withdraw")
    shown = round(present(history, now, damping))
    return Wait(damped, f"damping: penalty {shown} of {damping.suppress:g} at our upstreams")


def _decay(history: History, before: Level, after: Level, now: float, damping: Damping) -> float:
    """Seconds until the penalty leaves room for the change, and for the way back."""
    penalty = present(history, now, damping)
    step = READVERTISEMENT if before is Level.WITHDRAWN else ATTRIBUTES
    room = damping.suppress - step - reserve(after)
    # Once it is forgotten nothing is gained by waiting, whatever the threshold.
    line = max(room, forgotten(damping))
    if penalty <= line or penalty < forgotten(damping):
        return 0.0
    decay = damping.half_life * math.log2(penalty / line)
    return min(decay, max(0.0, history.at + damping.max_suppress - now))
