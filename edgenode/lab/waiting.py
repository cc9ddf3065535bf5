"""Waiting for a condition, always with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from edgenode.lab.errors import LabTimeout

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T | None],
    timeout: float,
    what: str,
    every: float = 0.02,
) -> T:
    """Ask until `condition` gives something true, and return that.

    `timeout` and `every` in seconds. Raises LabTimeout, saying `what` was waited for.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise LabTimeout(f"waited {timeout:g} s in vain: {what}")
        time.sleep(every)
