"""Ranking, tables and dialing together, in a world in which everything comes and goes."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.regions.simulation import DISTANCES, World
from tests.unit.regions.worlds import names

STEPS = 10_000


def test_ten_thousand_connections_through_a_world_in_motion() -> None:
    """Each second a probe and a client; every ten something happens."""
    rng = Random(20261130)
    world = World(rng, web={"slow_start": "30s"}, iad={"hard_limit": 40})
    world.probe()
    world.probe()
    for step in range(STEPS):
        world.now += 1.0
        if step % 10 == 0:
            world.disturb()
        world.probe()
        world.connect()
        world.hang_up(keep=60)
    assert world.table is not None
    assert world.table.revision > 400, "the world did move"
    assert sum(world.served.values()) == STEPS
    assert min(world.served[region] for region in DISTANCES) > STEPS / 50
    assert world.served["nobody"] < STEPS / 10
    assert not world.swaps


def test_two_regions_a_millisecond_apart_stay_in_their_order() -> None:
    for seed in range(20):
        world = World(Random(seed))
        orders: Counter[str] = Counter()
        for _ in range(600):
            world.now += 1.0
            world.probe(0.5)
            if world.table is not None and world.now > 60:
                orders["/".join(names(world.table.services[0]))] += 1
        assert len(orders) == 1, orders
        assert not world.swaps


@pytest.mark.parametrize("near", sorted(DISTANCES))
def test_who_is_nearer_by_more_than_the_margin_is_first_after_a_while(near: str) -> None:
    world = World(Random(3))
    world.probe()
    world.probe()
    world.move(near, 0.012)
    for _ in range(60):
        world.now += 1.0
        world.probe()
    assert world.table is not None
    assert names(world.table.services[0])[0] == near


def test_a_pinned_service_never_meets_another_region() -> None:
    rng = Random(11)
    world = World(rng, web={"pin": "iad"})
    world.probe()
    world.probe()
    for step in range(2000):
        world.now += 1.0
        if step % 10 == 0:
            world.disturb()
        world.probe()
        world.connect()
        world.hang_up(keep=20)
    assert world.served.keys() <= {"iad", "nobody"}
    assert world.served["iad"] > 500
    assert world.served["nobody"] > 50


def test_weights_share_a_region_within_bounds() -> None:
    world = World(Random(5), web={"pin": "fra"}, fra_1={"weight": 3})
    world.probe()
    world.probe()
    for _ in range(2000):
        world.now += 0.01
        world.connect()
        world.hang_up(keep=400)
    by_place = Counter(at for _, at in world.open)
    assert 0.65 < by_place[0] / 400 < 0.85


@settings(max_examples=60)
@given(
    st.integers(0, 2**32),
    st.sampled_from(
        (
            {},
            {"pin": "sin"},
            {"prefer": ["sin", "iad"]},
            {"exclude": ["fra"]},
            {"regions": ["iad", "sin"], "prefer": ["sin"]},
        )
    ),
    st.lists(st.tuples(st.sampled_from("dddrpc"), st.floats(0.05, 30)), max_size=40),
)
def test_the_laws_hold_in_any_history(
    seed: int, web: dict[str, object], history: list[tuple[str, float]]
) -> None:
    """Disturbances, restarts, probes and connections, in any order and any time apart."""
    world = World(Random(seed), web=web)
    for what, passed in history:
        world.now += passed
        if what == "d":
            world.disturb()
        elif what == "r":
            world.restart()
        world.publish()
        world.probe(0.7 if what == "p" else 1.0)
        if what == "c" and world.table is not None:
            world.connect()
            world.connect("mail")
