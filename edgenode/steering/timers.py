"""Coarse timers: a timing wheel without a fixed size. Pure; the caller passes the time in."""

from __future__ import annotations

import heapq

GRANULARITY = 0.01
"""Seconds of a slot."""

# C numbers, where compiled.
_granularity = GRANULARITY
_never = float("inf")


class Timed:
    """What a timer can be set for: at most one. Its attributes are `Timers`' own."""

    __slots__ = ("_due", "_slot")

    def __init__(self) -> None:
        self._due = 0.0
        self._slot = 0.0  # in which it is looked at; 0: in none


class Timers:
    """Never early, late by at most the granularity and the slack.

    A timer that is set to a later time stays in its slot, and is put where it belongs when that
    slot comes: a connection that is dialed, served and closed at once is put in a slot and taken
    out of it, and no more. The heap holds slots, not timers: it stays small however many
    connections come and go.
    """

    def __init__(self) -> None:
        self._slots: dict[float, set[Timed]] = {}
        self._heap: list[float] = []

    def set(self, one: Timed, due: float, slack: float = 0.0) -> None:
        """Let `one` expire at `due` seconds, or up to `slack` later; not at its former time."""
        if slack > _granularity:
            due = -(-due // slack) * slack
        one._due = due
        slot = due // _granularity + 1.0
        if one._slot:
            if one._slot <= slot:
                return
            self._slots[one._slot].discard(one)
        self._put(one, slot)

    def cancel(self, one: Timed) -> None:
        """Forget its timer, if there is one."""
        if one._slot:
            self._slots[one._slot].discard(one)
            one._slot = 0.0

    def expired(self, now: float) -> list[Timed]:
        """Those that are due; they have no timer any more."""
        found: list[Timed] = []
        while self._heap and self._heap[0] * _granularity <= now:
            for one in self._slots.pop(heapq.heappop(self._heap)):
                one._slot = 0.0
                slot = one._due // _granularity + 1.0
                if slot * _granularity <= now:
                    found.append(one)
                else:
                    self._put(one, slot)
        return found

    def next_due(self) -> float:
        """When to look again; infinity if no timer is set."""
        return self._heap[0] * _granularity if self._heap else _never

    def _put(self, one: Timed, slot: float) -> None:
        one._slot = slot
        there = self._slots.get(slot)
        if there is None:
            there = self._slots[slot] = set()
            heapq.heappush(self._heap, slot)
        there.add(one)
