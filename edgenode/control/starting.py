"""How control begins: what the one before it announced is taken over, or nothing is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from edgenode.bgp.announcer import Announcer
from edgenode.bgp.client import BirdError, BirdUnavailable
from edgenode.bgp.levels import Level
from edgenode.config import Group
from edgenode.control.index import borne_by
from edgenode.control.neighbors import Proofs
from edgenode.control.orders import Orders
from edgenode.control.parts import Parts
from edgenode.health.risefall import State
from edgenode.lifeline.pulse import Pulse

PATIENCE = 1.0
"""Seconds that a start waits for the lifeline, and then for BIRD, before it goes on without."""


async def take_over(
    groups: Mapping[str, Group],
    parts: Parts,
    announcer: Announcer,
    orders: Orders,
    proofs: Proofs,
) -> Mapping[str, Level]:
    """What stands on the lifeline goes on, and what stands without it in any case.

    The levels of those groups; the others are still to be withdrawn. When it returns, nothing
    was waited for since the last look at the lifeline.
    """
    held = await _lifeline_held(parts.lifeline)
    found = await _found(announcer, parts.lifeline, held)
    held = held and bool(parts.lifeline.held)  # BIRD may have taken longer than the grace
    kept = {
        name: level
        for name, level in found.items()
        if held or groups[name].on_control_loss == "keep"
    }
    orders.take_over(kept)
    parts.decider.start(kept, held)
    for name, level in kept.items():
        proofs.expect(name, level)
    stand = {name: level for name, level in kept.items() if level is not Level.WITHDRAWN}
    for name in {c for n, at in stand.items() for c in borne_by(groups[n], at)}:
        if not parts.checker.decided(name):
            # It was up, or the group would not stand: its tripwire tells at once if that ended.
            parts.checker.adopt(name, State.UP, "taken over from the control before")
            parts.hooks.know("check", name, State.UP)
    for name, level in kept.items():
        parts.hooks.know("group", name, level)
    return kept


async def _lifeline_held(lifeline: Pulse) -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            return await lifeline.wait_state()
    except TimeoutError:
        return False


async def _found(announcer: Announcer, lifeline: Pulse, held: bool) -> dict[str, Level]:
    """What BIRD announces; waited for while the lifeline is held, for no beat is due yet."""
    waited = 0.0
    while True:
        try:
            return await announcer.adopt()
        except (BirdUnavailable, BirdError):
            if waited > PATIENCE and not (held and lifeline.held):
                return {}
        await asyncio.sleep(0.05)
        waited += 0.05
