"""Two ends that have never met, and begin handshakes at the same moment: as WireGuard does it."""

from __future__ import annotations

import random
from ipaddress import ip_address

from edgenode.paths.arrivals import INITIATION
from edgenode.paths.path import Path, Times
from edgenode.paths.verdict import BAD, State, judge

REKEY_TIMEOUT, JITTER = 5.0, 0.334
"""Seconds: section 6.1 and 6.4 of the whitepaper, and both implementations."""
KEPT = 10**4
"""Bytes: what the peer sends once there is a session."""


def first_states(chance: random.Random, delay: float, heard: bool = True) -> list[State]:
    """What control says of a peer, a look every second, until a little after the handshake.

    `delay`: seconds one way. `heard`: whether the peer ever hears what is sent to it.
    """
    ours, theirs = 0.0, chance.uniform(-delay, delay)
    calls: list[float] = []
    while len(calls) < 20:
        calls.append(theirs + delay)
        if heard and abs(ours - theirs) > delay:
            break  # the later one hears the other's before it sends its own
        ours += REKEY_TIMEOUT + chance.uniform(0, JITTER)
        theirs += REKEY_TIMEOUT + chance.uniform(0, JITTER)
    done = min(ours, theirs) + 3 * delay if heard else float("inf")
    address = ip_address("198.51.100.201")
    path = Path("fra", Times(5.0, 5.0, 1.0, 600.0), 1420, 576, 0.0)
    path.targets, path.hosts = (address,), frozenset((address,))
    states = []
    for tick in range(1, int(min(done, 100.0)) + 10):
        now = float(tick)
        while path.next_at <= now:
            at = path.next_at
            for ask in path.begin(at):
                if at > done:
                    path.answer(ask, 2 * delay, at + 2 * delay)
        if tick % 2:
            rx = INITIATION * sum(1 for call in calls if call <= min(now, done))
            path.arrivals = path.arrivals.look(rx + (KEPT if now > done else 0), now)
        states.append(judge(path.facts(None, 15.0, True), now).state)
    return states


def test_ends_that_begin_together_are_not_told_that_one_way_is_broken() -> None:
    """At a round-trip of 160 ms, where two of five who met meet again."""
    chance = random.Random(6)
    found = [first_states(chance, 0.08) for _ in range(500)]
    assert sum(1 for states in found if BAD & set(states)) <= 3
    assert {states[-1] for states in found} == {State.GOOD}
    late = [states for states in found if len(states) > 24]
    assert len(late) > 20, "three in a row are not seldom"


def test_a_peer_that_never_hears_us_is_found_within_a_minute() -> None:
    states = first_states(random.Random(6), 0.08, heard=False)
    assert states.index(State.ONE_WAY) < 60
    assert set(states[: states.index(State.ONE_WAY)]) == {State.UNKNOWN}
