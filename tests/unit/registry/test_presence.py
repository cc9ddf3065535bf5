"""Workers whose records go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgenode.config.schema import Region
from edgenode.registry.served import Served, missing, news
from edgenode.registry.snapshot import Entry, Rules
from tests.unit.registry.fleets import LAYOUT, TIMES, entry, fleet, names, served, snapshot

FOUR = [entry(f"fra/w{n}", n) for n in (1, 2, 3, 4)]


def later(state: Served, now: float, *entries: Entry) -> Served:
    return state.after(snapshot(*entries, entry("iad/other", 200)), now)


def in_fra(state: Served) -> int:
    return sum(name.startswith("fra/") for name in names(state))


def test_one_that_goes_lingers_and_is_gone() -> None:
    state = later(served(*FOUR), 100.0, *FOUR[:3])
    assert "fra/w4" in names(state)
    assert missing(state, 103.0) == [{"worker": "fra/w4", "for_s": 3.0, "held": False}]
    assert "fra/w4" in names(state.after(state.snapshot, 109.9))
    assert "fra/w4" not in names(state.after(state.snapshot, 110.1))


def test_one_that_comes_back_was_never_away() -> None:
    state = later(served(*FOUR), 100.0, *FOUR[:3])
    state = later(state, 105.0, *FOUR[:3], entry("fra/w4", 4, weight=2))
    assert not state.presence.missing
    assert "fra/w4" in names(state.after(state.snapshot, 1000.0))


def test_most_of_a_region_is_held_and_said() -> None:
    before = served(*FOUR)
    state = later(before, 100.0, FOUR[0])
    told = dict(news(before, state))
    assert "3 of 4 workers' records have gone at once" in told["fra"]
    assert "Look at etcd" in told["fra"]
    state = state.after(state.snapshot, 100.0 + 3599)
    assert in_fra(state) == 4
    assert not [text for _, text in news(state, state) if "at once" in text]
    state = state.after(state.snapshot, 100.0 + 3601)
    assert names(state) == ["fra/w1", "iad/other"]


def test_leases_that_end_one_after_the_other_are_one_loss() -> None:
    state = later(served(*FOUR), 100.0, *FOUR[:3])
    state = later(state, 103.0, *FOUR[:2])
    state = later(state, 107.0, *FOUR[:1])
    assert in_fra(state.after(state.snapshot, 500.0)) == 4


def test_all_that_is_known_is_not_forgotten_for_an_empty_etcd() -> None:
    state = served(*FOUR).after(snapshot(), 100.0)
    assert len(names(state.after(state.snapshot, 1000.0))) == 4


def test_whoever_drained_first_goes_at_once() -> None:
    draining = [entry(f"fra/w{n}", n, draining=True) for n in (1, 2, 3, 4)]
    assert names(served(*draining).after(snapshot(), 100.0)) == []


def test_a_held_worker_gives_way_to_whoever_has_its_address_now() -> None:
    state = served(*FOUR).after(snapshot(entry("fra/new", 9, addresses=["10.1.1.2"])), 100.0)
    assert "fra/w2" not in names(state)
    assert "fra/new" in names(state)


STEPS = st.tuples(st.sets(st.integers(1, 6)), st.floats(0, 30), st.booleans())


@given(steps=st.lists(STEPS, max_size=12))
def test_whoever_is_registered_is_served_and_nobody_stays_for_ever(
    steps: list[tuple[set[int], float, bool]],
) -> None:
    now, state = 0.0, served()
    there: set[int] = set()
    for there, wait, draining in steps:
        now += wait
        entries = [entry(f"fra/w{n}", n, draining=draining) for n in there]
        state = state.after(snapshot(*entries), now)
        assert {f"fra/w{n}" for n in there} <= set(names(state))
    assert set(names(state.after(state.snapshot, now + 3601))) == {f"fra/w{n}" for n in there}


def test_a_whole_fleet_is_not_forgotten_where_each_region_has_one_worker() -> None:
    state = served(entry("fra/a", 1), entry("iad/b", 2)).after(snapshot(), 100.0)
    assert names(state.after(state.snapshot, 1000.0)) == ["fra/a", "iad/b"]


def test_a_worker_that_the_configuration_has_by_now_is_not_there_twice() -> None:
    state = served(entry("fra/a", 1), entry("iad/b", 2))
    workers = [{"name": "a", "addresses": ["10.1.1.1"]}, {"name": "c", "addresses": ["10.1.1.2"]}]
    regions = [{"name": "fra", "workers": workers}, {"name": "iad"}]
    moved = fleet().model_copy(
        update={"regions": tuple(Region.model_validate(region) for region in regions)}
    )
    after = Served(LAYOUT, Rules.of(moved), TIMES, presence=state.presence).after(
        state.snapshot, 1.0
    )
    assert names(after) == []
    assert [w.name for r in after.merged(moved).regions for w in r.workers] == ["a", "c"]
