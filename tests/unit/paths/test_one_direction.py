"""A peer whose echoes are answered by hosts behind it, and what is said of it when they stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import groupby

from edgenode.paths.arrivals import INITIATION
from edgenode.paths.path import Path, Times
from edgenode.paths.verdict import BAD, Direction, State, Verdict, judge

BEHIND = ip_address("198.51.100.194"), ip_address("198.51.100.195")
KEEPALIVE, PACKET = 32, 160
"""Bytes, as WireGuard counts them."""
Rx = Callable[[int], int]
"""What comes from the peer in the second that begins with this one, in bytes."""


@dataclass
class Region:
    """A peer with a range. Looked at each second, and its counters each other second."""

    path: Path = field(default_factory=lambda: Path("fra", Times(5, 5, 1, 600), 1420, 576, 0.0))
    now: int = 0
    rx: int = 0
    verdicts: list[Verdict] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path.targets = BEHIND

    def run(self, seconds: int, rx: Rx, answers: bool, workers: bool) -> list[Verdict]:
        """`rx` is given seconds since the run began; `workers`: whether they accept all the while,
        those that do not are down."""
        began = self.now
        for second in range(seconds):
            self.now += 1
            self.rx += rx(second)
            while self.path.next_at <= self.now:
                at = self.path.next_at
                for ask in self.path.begin(at):
                    if answers:
                        self.path.answer(ask, 0.02, at + 0.02)
            if self.now % 2:
                self.path.arrivals = self.path.arrivals.look(self.rx, self.now)
            accepted = float(self.now) if workers else None
            facts = self.path.facts(accepted, 15.0, False, 2.0)
            self.verdicts.append(judge(facts, float(self.now)))
        return self.verdicts[began:]


def well() -> Region:
    region = Region()
    verdicts = region.run(120, lambda second: PACKET, True, True)
    assert verdicts[-1].state is State.GOOD
    return region


def cut(second: int) -> int:
    """The peer hears nothing any more: two keepalives, then handshakes."""
    if second in (13, 28):
        return KEEPALIVE
    return INITIATION if second >= 33 and second % 5 == 3 else 0


def test_a_cut_on_the_way_there_is_said_once_and_stays_bad() -> None:
    verdicts = well().run(600, cut, False, False)
    states = [state for state, _ in groupby(v.state for v in verdicts)]
    assert states == [State.GOOD, State.DEAD, State.ONE_WAY], "nothing is said twice"
    said = next(v for v in verdicts if v.state is State.ONE_WAY)
    assert verdicts.index(said) < 20, "by its first keepalive"
    assert (said.direction, said.likely) == (Direction.OUT, True)
    assert "ours do not arrive there, or everything behind it is dead" in said.reason
    assert "filtered" not in said.reason
    assert {v.direction for v in verdicts if v.state is State.ONE_WAY} == {Direction.OUT}


def test_it_stays_so_while_the_peer_does_nothing_but_call_seldom() -> None:
    """Less often than what tells a peer that calls in vain from one that began together."""

    def seldom(second: int) -> int:
        return KEEPALIVE if second == 13 else INITIATION * (second % 25 == 24)

    verdicts = well().run(200, seldom, False, False)
    states = [state for state, _ in groupby(v.state for v in verdicts)]
    assert states == [State.GOOD, State.DEAD, State.ONE_WAY]


def test_one_that_falls_silent_after_it_is_dead() -> None:
    verdicts = well().run(200, lambda second: KEEPALIVE * (second == 13), False, False)
    assert verdicts[-1].state is State.DEAD
    assert all(v.state in BAD for v in verdicts[10:])


def test_workers_that_have_died_are_said_to_be_it_too_and_the_first_to_return_ends_it() -> None:
    region = well()
    dead = region.run(300, lambda second: KEEPALIVE * (second % 15 == 10), False, False)
    assert all(v.state in BAD for v in dead[10:])
    assert "or everything behind it is dead" in dead[-1].reason
    first, *_ = region.run(5, lambda second: PACKET, False, True)
    assert first.state is State.FILTERED
    assert first.problem(4) is first.problem(6) is None


def test_workers_that_accept_keep_it_whatever_is_silent() -> None:
    for rx in (cut, lambda second: PACKET, lambda second: 0):
        verdicts = well().run(200, rx, False, True)
        assert not BAD & {v.state for v in verdicts}


def test_hosts_that_never_answered_are_not_missed() -> None:
    verdicts = Region().run(300, lambda second: KEEPALIVE * (second % 15 == 0), False, False)
    assert {v.state for v in verdicts} == {State.UNKNOWN}
