"""A path over time, against a network that is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from edgenode.config.values import Address
from edgenode.paths.path import SMALL, Ask, Path, Times
from edgenode.paths.verdict import State, Verdict, judge

A, B = ip_address("198.51.100.201"), ip_address("2001:db8::1")
TIMES = Times(interval=5.0, full_interval=5.0, timeout=1.0, grow_interval=600.0)
Net = Callable[[Ask, float], bool]
"""Whether an echo that is sent at a time is answered."""


class World:
    def __init__(self, times: Times = TIMES) -> None:
        self.now = 1000.0
        self.path = Path("fra", times, 1420, 576, self.now)
        self.path.targets = (A, B)
        self.path.hosts = frozenset((A, B))
        self.sent: list[tuple[float, Ask]] = []

    def run(self, seconds: float, net: Net) -> Verdict:
        end = self.now + seconds
        while self.path.next_at <= end:
            self.now = max(self.now, self.path.next_at)
            asks = self.path.begin(self.now)
            self.sent += [(self.now, ask) for ask in asks]
            for ask in asks:
                if net(ask, self.now):
                    self.path.answer(ask, 0.02, self.now + 0.02)
        self.now = end
        return self.verdict()

    def verdict(self) -> Verdict:
        return judge(self.path.facts(None, 15.0, False), self.now)

    def until(self, wanted: Callable[[], bool], net: Net, limit: float = 60.0) -> float:
        began = self.now
        while not wanted():
            assert self.now < began + limit
            self.run(0.1, net)
        return self.now - began


def everything(ask: Ask, now: float) -> bool:
    return True


def nothing(ask: Ask, now: float) -> bool:
    return False


def up_to(limit: int) -> Net:
    return lambda ask, now: ask.size <= limit


def lossy(chance: random.Random, limit: int, share: float) -> Net:
    return lambda ask, now: ask.size <= limit and chance.random() < share


def only(address: Address) -> Net:
    return lambda ask, now: ask.address == address


def test_a_path_that_is_well_gets_few_echoes() -> None:
    world = World()
    assert world.run(100, everything).state is State.GOOD
    assert world.path.proven == 1420
    assert world.path.mtu is None
    assert world.path.loss == 0.0
    assert world.path.rtt == 0.02
    assert len(world.sent) <= 2 * 21 + 2
    assert {ask.size for _, ask in world.sent} == {SMALL, 1420}


def test_a_black_hole_is_found_and_measured_within_seconds() -> None:
    world = World()
    world.run(60, everything)
    took = world.until(lambda: world.path.mtu is not None, up_to(1380))
    assert took < 11
    assert world.path.mtu == 1376
    assert world.verdict().state is State.GOOD
    # What passes now is looked at on, and a smaller limit found as well.
    world.run(30, up_to(1380))
    took = world.until(lambda: world.path.mtu != 1376, up_to(1300))
    assert took < 11
    assert world.path.mtu == 1296


def test_a_black_hole_from_the_start_is_found() -> None:
    world = World()
    assert world.until(lambda: world.path.sized, up_to(1280)) < 6
    assert world.path.mtu == 1280


def test_a_mended_underlay_has_its_size_back_at_the_next_try() -> None:
    world = World()
    world.until(lambda: world.path.sized, up_to(1280))
    world.run(500, everything)
    assert world.path.mtu == 1280
    world.run(120, everything)
    assert world.path.mtu is None


def test_after_a_silence_it_is_tried_at_once() -> None:
    world = World()
    world.until(lambda: world.path.sized, up_to(1280))
    assert world.run(30, nothing).state is State.DEAD
    assert world.path.mtu == 1280
    assert world.run(15, everything).state is State.GOOD
    assert world.path.mtu is None


def test_no_useful_size_is_a_black_hole_and_heals() -> None:
    world = World()
    world.run(20, everything)
    assert world.run(20, up_to(500)).state is State.BLACK_HOLE
    assert world.path.proven is None
    assert world.path.mtu == 576
    few = len(world.sent)
    world.run(100, up_to(500))
    assert len(world.sent) - few < 100 / 5 * 20
    world.until(lambda: world.verdict().state is State.GOOD, everything, 12)
    assert world.path.mtu is None


def test_a_host_that_filters_large_echoes_from_the_start_costs_nothing() -> None:
    world = World()
    assert world.run(20, up_to(500)).state is State.LARGE_LOST
    assert world.verdict().problem(4) is world.verdict().problem(6) is None
    assert (world.path.mtu, world.path.proven) == (None, None)
    world.until(lambda: world.verdict().state is State.GOOD, everything, 12)
    assert world.run(20, up_to(500)).state is State.BLACK_HOLE, "now it is known that it answers"


def test_another_host_that_filters_large_echoes_is_not_held_against_the_path() -> None:
    """The one that answered them is gone, and one that never did is asked instead."""
    world = World()
    world.run(20, only(A))
    assert world.path.proven == 1420
    for _ in range(30):
        verdict = world.run(1, lambda ask, now: ask.address == B and ask.size == SMALL)
        assert verdict.problem(4) is verdict.problem(6) is None
    assert verdict.state is State.LARGE_LOST
    assert world.path.mtu is None


def test_one_lost_echo_does_not_change_who_is_asked() -> None:
    """Or else a black hole would be excused with a host that filters."""
    world = World()
    world.run(20, everything)
    assert world.run(20, up_to(500)).state is State.BLACK_HOLE
    lost = world.path.next_at
    verdict = world.run(20, lambda ask, now: ask.size <= 500 and now != lost)
    assert verdict.state is State.BLACK_HOLE


def test_a_hole_that_is_too_small_for_ipv6_is_left_soon() -> None:
    world = World()
    world.run(20, everything)
    world.run(20, up_to(1200))
    assert world.verdict().problem(6)
    assert world.until(lambda: world.verdict().problem(6) is None, everything) < 11


def slow(world: World, seconds: float, rtt: float) -> set[State]:
    """All echoes are answered, and late. What the path was."""
    states, due = set(), list[tuple[float, Ask]]()
    end = world.now + seconds
    while world.now < end:
        world.now += 0.05
        for at, ask in [each for each in due if each[0] <= world.now]:
            due.remove((at, ask))
            world.path.answer(ask, rtt, world.now)
        if world.path.next_at <= world.now:
            due += [(world.now + rtt, ask) for ask in world.path.begin(world.now)]
        states.add(world.verdict().state)
    return states


def test_a_path_that_is_longer_than_the_timeout_is_good() -> None:
    world = World()
    slow(world, 20, 1.1)
    assert slow(world, 120, 1.1) <= {State.GOOD, State.LOSSY}
    assert world.path.mtu is None
    assert world.path.loss == 0.0
    world.run(60, everything)
    assert slow(world, 60, 1.5) <= {State.GOOD, State.LOSSY}, "a queue has filled"


def test_an_answer_between_two_rounds_counts() -> None:
    world = World()
    world.run(95, everything)
    (ask, *_) = world.path.begin(world.path.next_at)
    over = world.path.next_at
    assert world.path.begin(over) == ()
    world.path.answer(ask, 1.1, over + 0.1)
    world.path.begin(over + 0.1)
    world.path.begin(world.path.next_at)
    assert round(20 * (world.path.loss or 0)) == 1, "the second round had an answer"


def test_what_was_kept_for_a_handshake_says_nothing_about_the_distance() -> None:
    world = World()
    (ask, *_) = world.path.begin(world.path.next_at)
    world.path.answer(ask, 12.0, world.path.next_at)
    assert world.path.rtt is None
    world.run(20, everything)
    assert world.path.rtt == 0.02


def test_a_dead_path_is_known_within_seconds_and_so_is_its_return() -> None:
    world = World()
    world.run(60, everything)
    assert world.until(lambda: world.verdict().state is State.DEAD, nothing) < 10
    world.run(200, nothing)
    few = len(world.sent)
    world.run(100, nothing)
    assert len(world.sent) - few <= 2 * 21, "no hurry any more"
    assert world.until(lambda: world.verdict().state is State.GOOD, everything) < 8
    assert world.run(60, everything).state is State.GOOD, "its losses are of the past"


def test_one_of_two_hosts_is_enough() -> None:
    world = World()
    world.run(60, everything)
    for alive in (A, B, A):
        states = {world.run(1, only(alive)).state for _ in range(30)}
        assert states <= {State.GOOD, State.LOSSY}


def test_an_abandoned_round_says_nothing() -> None:
    world = World()
    world.run(60, everything)
    for _ in range(10):
        world.path.begin(world.path.next_at)
        world.path.abandon(world.path.next_at)
    world.now = world.path.next_at
    assert world.verdict().state is State.GOOD
    assert world.path.loss == 0.0


def test_an_answer_in_a_round_that_was_abandoned_counts() -> None:
    world = World()
    world.run(20, everything)
    world.until(lambda: world.verdict().state is State.DEAD, nothing)
    (ask, *_) = world.path.begin(world.path.next_at)
    world.path.answer(ask, 0.02, world.now)
    world.path.abandon(world.now)
    assert world.verdict().state is not State.DEAD
    assert world.run(2.5, nothing).state is not State.DEAD


NETS = st.tuples(
    st.floats(0.1, 40.0), st.sampled_from([0, 99, 300, 700, 1100, 1300, 9000]), st.floats(0.0, 1.0)
)


@settings(max_examples=100)
@given(st.lists(NETS, max_size=8), st.integers(0, 2**32))
def test_whatever_was_a_path_that_answers_is_good_soon(
    history: list[tuple[float, int, float]], seed: int
) -> None:
    """`history`: seconds, the largest size that passes, and the share of it that does."""
    chance = random.Random(seed)
    world = World()
    for seconds, limit, share in history:
        world.run(seconds, lossy(chance, limit, share))
    world.run(4 * TIMES.interval, everything)
    verdict = world.verdict()
    assert verdict.problem(4) is verdict.problem(6) is None
    for _ in range(20):
        assert world.run(TIMES.interval, everything).state in (State.GOOD, State.LOSSY)
    assert world.verdict().state is State.GOOD
    world.run(TIMES.grow_interval, everything)
    assert world.path.mtu is None


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(600, 1420))
def test_loss_never_kills_a_path_and_seldom_shrinks_it(seed: int, limit: int) -> None:
    chance = random.Random(seed)
    world = World()
    for _ in range(200):
        world.run(5, lambda ask, now: ask.size <= limit and chance.random() > 0.05)
        assert world.path.size != 0
        assert world.path.mtu is None or world.path.mtu <= limit
    assert world.verdict().state in (State.GOOD, State.LOSSY)
