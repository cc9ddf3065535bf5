"""Coarse timers: a timing wheel without a fixed size. Pure; the caller passes the time in."""

from __future__ import annotations

import heapq
import math

GRANULARITY = 0.01


class Timers:
    """At most one timer for each key; never early, late by at most the granularity and the slack.

    Setting and cancelling cost a few dictionary operations. The heap holds slots, not timers: it
    stays small however many connections come and go.
    """

    def __init__(self) -> None:
        self._slot_of: dict[int, int] = {}
        self._slots: dict[int, set[int]] = {}
        self._heap: list[int] = []

    def set(self, key: int, due: float, slack: float = 0.0) -> None:
        """Fire `key` at `due` seconds, or up to `slack` later; replaces the key's former timer."""
        self.cancel(key)
        if slack > GRANULARITY:
            due = math.ceil(due / slack) * slack
        slot = math.ceil(due / GRANULARITY)
        keys = self._slots.get(slot)
        if keys is None:
            keys = self._slots[slot] = set()
            heapq.heappush(self._heap, slot)
        keys.add(key)
        self._slot_of[key] = slot

    def cancel(self, key: int) -> None:
        """Forget the key's timer, if there is one."""
        slot = self._slot_of.pop(key, None)
        if slot is not None:
            self._slots[slot].discard(key)

    def expired(self, now: float) -> list[int]:
        """Remove and return the keys that are due."""
        keys: list[int] = []
        while self._heap and self._heap[0] * GRANULARITY <= now:
            for key in self._slots.pop(heapq.heappop(self._heap)):
                del self._slot_of[key]
                keys.append(key)
        return keys

    def next_due(self) -> float | None:
        """When to look again, None if no timer is set."""
        return self._heap[0] * GRANULARITY if self._heap else None
