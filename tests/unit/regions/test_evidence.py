"""Whose fault it is: the table row by row, its laws, and whole fleets that lose their regions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenode.health.risefall import State
from edgenode.regions.evidence import (
    Cause,
    NodeStands,
    Pace,
    RegionStands,
    ServiceStands,
    Statement,
    enough,
    judge,
)
from edgenode.regions.ranking import reachable
from edgenode.regions.registry import TargetKey
from edgenode.regions.stands import stands
from tests.unit.regions.worlds import REGISTRY, states

FRA, IAD = RegionStands("fra", up=0, down=2), RegionStands("iad", up=0, down=2)
GONE = ServiceStands(reachable=False, answered=100.0, since=103.0, regions=(FRA, IAD))
LONG = 1000.0
NODE = NodeStands()


def says(sibling: str, reachable: bool | None, answered: float | None = None) -> Statement:
    return Statement(sibling, reachable, answered)


ALIVE = says("nyc1", True, 110.0)
DEAD = says("nyc1", False)
SLOW = says("nyc1", True, 100.9)


@pytest.mark.parametrize(
    ("told", "voters", "node", "cause", "reachable", "words"),
    [
        ([ALIVE], 1, NodeStands(trouble="it hangs"), Cause.MY_NODE, False, "it hangs"),
        ([ALIVE], 1, NODE, Cause.MY_NODE, False, "nyc1 reaches its workers, this node does not"),
        ([ALIVE], 1, NodeStands(stale=True), Cause.MY_TUNNEL, False, "every handshake is stale"),
        ([ALIVE, says("sin1", False)], 2, NODE, Cause.MY_NODE, False, "tunnels are fresh"),
        ([DEAD], 1, NODE, Cause.EVERYWHERE, None, "nyc1 sees the same: dead for everybody"),
        ([DEAD, says("a1", False)], 2, NODE, Cause.EVERYWHERE, None, "a1 and nyc1 see the same"),
        ([DEAD], 3, NODE, Cause.REGION, False, "too few siblings"),
        ([], 0, NODE, Cause.REGION, False, "fra: 2 down, iad: 2 down), though the tunnel is fresh"),
        ([], 0, NodeStands(stale=True), Cause.MY_TUNNEL, False, "every handshake is stale"),
        ([], 2, NodeStands(quiet=True), Cause.MY_TUNNEL, False, "nothing comes through the mesh"),
        ([], 2, NODE, Cause.REGION, False, "too few siblings"),
        ([says("nyc1", None)], 1, NODE, Cause.REGION, False, "too few siblings"),
        ([SLOW], 1, NODE, Cause.REGION, False, "too few siblings"),
    ],
)
def test_a_service_that_no_worker_answers(
    told: list[Statement],
    voters: int,
    node: NodeStands,
    cause: Cause,
    reachable: bool | None,
    words: str,
) -> None:
    finding = judge(GONE, told, voters, node, LONG)
    assert (finding.cause, finding.reachable) == (cause, reachable)
    assert words in finding.text


def test_a_sibling_that_may_not_have_noticed_yet_is_waited_for() -> None:
    finding = judge(GONE, [SLOW], 1, NODE, 104.0)
    assert (finding.cause, finding.reachable) == (Cause.NONE_KNOWN, None)
    assert "what nyc1 sees is waited for" in finding.text
    assert judge(GONE, [SLOW], 1, NODE, 103.0 + GONE.pace.patience).reachable is False


def test_a_region_that_is_down_is_told_where_others_carry_on() -> None:
    here = replace(GONE, reachable=True, regions=(FRA, replace(IAD, up=1)))
    finding = judge(here, [], 0, NODE, LONG)
    assert (finding.cause, finding.reachable) == (Cause.HEALTHY, True)
    assert finding.text == "iad answers; fra does not, though its tunnel is fresh"
    way = replace(here, regions=(replace(FRA, way="its handshake is stale"), replace(IAD, up=1)))
    assert judge(way, [], 0, NODE, LONG).text == "iad answers; fra does not, its handshake is stale"


def test_the_ways_are_named_where_none_is_good() -> None:
    bad = tuple(replace(region, way="packets come back only") for region in (FRA, IAD))
    alone = judge(replace(GONE, regions=bad), [ALIVE], 1, NODE, LONG)
    assert alone.cause is Cause.MY_TUNNEL
    assert "fra: packets come back only" in alone.text
    one_good = judge(replace(GONE, regions=(bad[0], IAD)), [ALIVE], 1, NODE, LONG)
    assert one_good.cause is Cause.MY_NODE


maybe = st.sampled_from([True, False, None])
testimonies = st.lists(
    st.builds(
        Statement,
        st.sampled_from(["nyc1", "sin1", "fra1", "gru1"]),
        maybe,
        st.none() | st.floats(0, 200),
    ),
    max_size=4,
    unique_by=lambda each: each.sibling,
)
services = st.builds(
    ServiceStands,
    reachable=maybe,
    answered=st.floats(0, 200),
    since=st.floats(0, 200),
    regions=st.lists(
        st.builds(
            RegionStands,
            st.sampled_from(["fra", "iad"]),
            st.integers(0, 2),
            st.integers(0, 2),
            st.integers(0, 2),
            st.sampled_from(["", "stale"]),
        ),
        max_size=2,
    ).map(tuple),
)
nodes = st.builds(NodeStands, st.just(""), st.booleans(), st.booleans(), st.floats(0.01, 1))
voters = st.integers(0, 6)
times = st.floats(0, 500)


@given(st.lists(st.sampled_from(State), min_size=12, max_size=12))
def test_what_is_reachable_is_what_ranking_says(given: list[State]) -> None:
    known = {
        key: replace(state, state=drawn)
        for (key, state), drawn in zip(states({}).items(), given, strict=False)
    }
    for each in REGISTRY.services:
        found = stands(REGISTRY, {**states({}), **known}, each, lambda address: "")
        assert found.reachable is reachable(REGISTRY, {**states({}), **known}, each)


@given(services, testimonies, voters, nodes, times)
def test_what_answers_here_is_reachable_whatever_others_say(
    service: ServiceStands, told: list[Statement], voters: int, node: NodeStands, now: float
) -> None:
    finding = judge(service, told, voters, node, now)
    if service.reachable is not False:
        assert finding.reachable is service.reachable
    else:
        assert finding.reachable is not True
    assert finding.text


@given(services, testimonies, voters, nodes, times)
def test_nothing_is_kept_for_what_only_we_say(
    service: ServiceStands, told: list[Statement], voters: int, node: NodeStands, now: float
) -> None:
    """What is not withdrawn though no worker answers has a sibling's word for it."""
    finding = judge(service, told, voters, node, now)
    if service.reachable is False and finding.reachable is None:
        assert any(each.reachable is not None for each in told)


@given(services, testimonies, voters, nodes)
def test_in_the_end_it_is_kept_for_everybody_or_not_at_all(
    service: ServiceStands, told: list[Statement], voters: int, node: NodeStands
) -> None:
    finding = judge(service, told, voters, node, 1e6)
    if service.reachable is False:
        dead = sum(each.reachable is False for each in told)
        everywhere = finding.cause is Cause.EVERYWHERE
        assert (finding.reachable is None) is everywhere
        assert not everywhere or dead >= enough(node.quorum, voters)


@given(services, testimonies, st.integers(0, 6), times)
def test_without_siblings_it_is_as_if_there_were_none_of_this(
    service: ServiceStands, told: list[Statement], voters: int, now: float
) -> None:
    finding = judge(service, [], 0, NodeStands(), now)
    assert finding.reachable is service.reachable


def test_how_many_are_enough() -> None:
    assert [enough(0.5, n) for n in (0, 1, 2, 3, 4, 10)] == [1, 1, 1, 2, 2, 5]
    assert [enough(1.0, n) for n in (1, 3)] == [1, 3]
    assert enough(0.1, 30) == 3


def test_how_a_service_stands_is_counted_by_region() -> None:
    web, mail = REGISTRY.services
    known = dict(states({"fra": None, "iad": 80.0}))
    known[TargetKey("iad", "iad-2", 8080)] = replace(
        known[TargetKey("iad", "iad-2", 8080)], state=State.DOWN, answered=7.0, since=9.0
    )
    up = TargetKey("iad", "iad-1", 8080)
    known[up] = replace(known[up], answered=6.0)
    ways = {"198.51.100.201": "stale", "198.51.100.202": "stale", "198.51.100.209": "stale"}
    found = stands(REGISTRY, known, web, lambda address: ways.get(str(address), ""))
    assert found.reachable is True
    assert (found.answered, found.since) == (6.0, 9.0)
    known[up] = replace(known[up], state=State.DOWN)
    assert stands(REGISTRY, known, web, lambda address: "").answered == 7.0
    assert found.regions == (
        RegionStands("fra", 0, 2, 0, "stale"),
        RegionStands("iad", 1, 1, 0, ""),
        RegionStands("sin", 0, 0, 2, ""),
    )
    assert [r.name for r in stands(REGISTRY, known, mail, lambda a: "").regions] == ["fra", "iad"]


# -- whole fleets ---------------------------------------------------------------------------------

INTERVAL, STALE_AFTER, PACE = 1.0, 4.0, Pace()
STEP = 0.05
DELAY = 0.3
"""Seconds that a datagram, or an answer, takes at most."""
BOUND = PACE.patience + STALE_AFTER + 3.0
"""Seconds within which a node that is cut off has to have withdrawn."""


@dataclass
class Edge:
    """One edge: a service with one worker, which is probed; views of its siblings."""

    name: str
    probes_at: float
    sends_at: float
    beats_at: float
    dies_at: float
    """When no worker answers it any more."""
    deaf_from: float
    """When it is not heard any more, and hears nothing."""
    drops: bool
    """Whether the dead are silent, or refuse."""
    answered: float = 0.0
    failures: int = 0
    since: float = 0.0
    due: list[tuple[float, bool]] = field(default_factory=list)
    views: dict[str, tuple[float, Statement]] = field(default_factory=dict)
    withdrawn: float | None = None

    def step(self, now: float, rng: random.Random) -> None:
        if now >= self.probes_at:
            ok = now < self.dies_at
            wait = PACE.timeout if not ok and self.drops else rng.uniform(0, DELAY)
            self.due.append((now + wait, ok))
            self.probes_at += rng.uniform(0.95, 1.1) * PACE.interval
        for at, ok in [each for each in self.due if each[0] <= now]:
            self.due.remove((at, ok))
            if ok:
                self.answered, self.failures = now, 0
            else:
                self.failures += 1
                if self.failures == PACE.fall:
                    self.since = now
                    self.judge(now, 1)

    @property
    def reachable(self) -> bool:
        return self.failures < PACE.fall

    def judge(self, now: float, voters: int) -> None:
        fresh = [told for at, told in self.views.values() if now - at <= STALE_AFTER]
        service = ServiceStands(self.reachable, self.answered, self.since)
        quiet = not fresh and not self.reachable
        finding = judge(service, fresh, voters, NodeStands(quiet=quiet), now)
        if finding.reachable is False and self.withdrawn is None:
            self.withdrawn = now


def play(edges: Sequence[Edge], seconds: float, rng: random.Random) -> None:
    flying: list[tuple[float, Edge, Statement, float]] = []
    for step in range(int(seconds / STEP)):
        now = step * STEP
        for edge in edges:
            edge.step(now, rng)
            if now >= edge.sends_at:
                edge.sends_at += INTERVAL
                for other in edges:
                    if other is not edge and now < edge.deaf_from and now < other.deaf_from:
                        told = Statement(edge.name, edge.reachable, None)
                        arrives = now + rng.uniform(0, DELAY)
                        flying.append((arrives, other, told, now - edge.answered))
        for each in [each for each in flying if each[0] <= now]:
            flying.remove(each)
            _, to, told, age = each
            answered = now - age if told.reachable else None
            to.views[told.sibling] = (now, replace(told, answered=answered))
        for edge in edges:
            if now >= edge.beats_at:
                edge.beats_at += 1.0
                edge.judge(now, len(edges) - 1)


def fleet(rng: random.Random, dies: Sequence[float], deaf: int | None = None) -> list[Edge]:
    return [
        Edge(
            f"edge{number}",
            rng.uniform(0, 1),
            rng.uniform(0, 1),
            rng.uniform(0, 1),
            at,
            at if deaf == number else 1e9,
            rng.random() < 0.5,
        )
        for number, at in enumerate(dies)
    ]


seeds = st.integers(0, 2**32)


@settings(max_examples=40)
@given(seeds, st.integers(2, 5))
def test_regions_that_die_for_everybody_are_withdrawn_by_nobody(seed: int, size: int) -> None:
    rng = random.Random(seed)
    edges = fleet(rng, [10.0] * size)
    play(edges, 30, rng)
    assert not any(edge.reachable for edge in edges)
    assert [edge.withdrawn for edge in edges] == [None] * size


@settings(max_examples=40)
@given(seeds, st.integers(2, 5), st.data())
def test_whoever_is_cut_off_alone_withdraws_and_no_other(
    seed: int, size: int, data: st.DataObject
) -> None:
    cut = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=size - 1))
    deaf = data.draw(st.sampled_from(sorted(cut)) | st.none()) if len(cut) == 1 else None
    rng = random.Random(seed)
    edges = fleet(rng, [10.0 if number in cut else 1e9 for number in range(size)], deaf)
    play(edges, 10 + BOUND, rng)
    for number, edge in enumerate(edges):
        assert (edge.withdrawn is not None) == (number in cut)


@settings(max_examples=40)
@given(seeds, st.lists(st.floats(5.0, 20.0), min_size=2, max_size=5))
def test_however_it_dies_somebody_keeps_it(seed: int, dies: list[float]) -> None:
    rng = random.Random(seed)
    edges = fleet(rng, dies)
    play(edges, 40, rng)
    assert any(edge.withdrawn is None for edge in edges)
