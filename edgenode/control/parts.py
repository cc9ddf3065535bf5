"""The parts of control run side by side, and none takes another with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

AGAIN = 1.0
"""Seconds until a part that has failed is started again."""


async def again_and_again(name: str, part: Callable[[], Awaitable[None]]) -> None:
    """Run a part; what goes wrong in it by a fault of ours is loud, and ends no other part.

    If it is the heart that fails, no beat comes, and the lifeline acts.
    """
    while True:
        try:
            await part()
            return
        except Exception:
            log.exception("%s failed, and is started again in %g s", name, AGAIN)
        await asyncio.sleep(AGAIN)
