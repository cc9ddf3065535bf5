"""A new version goes on with what was learned of workers, and nothing of that can harm it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.handover import learned
from edgenode.steering.memory import Memory
from edgenode.steering.outliers import Failure
from edgenode.steering.pick import Room
from edgenode.steering.table import DEFAULT_OUTLIERS, Bind, RegionTargets, Service, Table, Target

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


def knowing(regions: int = 1, workers: int = 4) -> Memory:
    found = tuple(
        RegionTargets(
            f"region-{number}",
            tuple(Target(f"w{one}", f"10.0.{number % 250}.{one}", 80) for one in range(workers)),
        )
        for number in range(regions)
    )
    memory = Memory()
    service = Service("web", ("192.0.2.1:80",), "v2", 1.0, 60.0, found)
    memory.apply(Table(1, "lon1", Bind(), (service,)), 100.0, 0.0)
    return memory


def alone(memory: Memory, now: float) -> list[Any]:
    return [(one.region, one.worker, one.reason, one.until) for one in memory.ejections(now)]


def test_usual_times_and_who_is_left_alone_are_known_to_the_next() -> None:
    old, new = knowing(2), knowing(2)
    near, far = old.pools("web")
    for _ in range(5):
        old.connected(near, 1, 100.0, 100.02)
    for number in range(6):
        old.failed(near, 0, Failure.REFUSED, 101.0 + number, 101.0 + number)
    old.failed(far, 0, Failure.TIMEOUT, 107.0, 107.5)
    told = json.loads(json.dumps(learned.tell(old), allow_nan=False))
    learned.take_in(new, told, 108.0)
    assert len(alone(old, 108.0)) == 3, "a worker that is ejected, one that is set aside, a way"
    assert alone(new, 108.0) == alone(old, 108.0)
    assert new.path("region-0").usual == old.path("region-0").usual
    assert new.dead(new.pools("web")[1], 108.0)
    (first, _) = new.pools("web")
    assert 0 not in {new.take(first, Room.HARD, (), 108.0) for _ in range(30)}


def test_it_has_room_in_a_message_however_much_there_is() -> None:
    old = knowing(200, 10)
    for pool in old.pools("web"):
        old.connected(pool, 0, 100.0, 100.02)
        for at in range(5):
            old.failed(pool, at, Failure.REFUSED, 101.0, 101.0)
    assert 10_000 < len(json.dumps(learned.tell(old))) < 60_000


def test_who_has_left_the_table_is_forgotten() -> None:
    old, new = knowing(2), knowing(1, workers=1)
    for pool in old.pools("web"):
        old.failed(pool, 3, Failure.REFUSED, 101.0, 101.0)
    learned.take_in(new, learned.tell(old), 108.0)
    assert list(new.records()) == []


def test_what_is_not_understood_takes_nothing_else_with_it() -> None:
    """A later version may know more ways to fail."""
    old, new = knowing(), knowing()
    (pool,) = old.pools("web")
    old.connected(pool, 1, 100.0, 100.02)
    old.failed(pool, 0, Failure.REFUSED, 101.0, 101.0)
    told = learned.tell(old)
    told["records"].insert(0, {**told["records"][0], "worker": "w1", "reason": "frozen"})
    told["paths"] = {"elsewhere": {"usual": "soon"}, **told["paths"]}
    learned.take_in(new, told, 108.0)
    assert alone(new, 102.0) == alone(old, 102.0) != []
    assert new.path("region-0").usual == old.path("region-0").usual


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("name", ["since", "began", "until", "returned"])
def test_a_record_with_a_time_that_is_none_is_left_out_alone(name: str, bad: str) -> None:
    """As text and as a number: Python's JSON has both."""
    old, new = knowing(workers=8), knowing(workers=8)
    (pool,) = old.pools("web")
    for at in range(3):
        old.failed(pool, at, Failure.REFUSED, 107.0, 107.0)
    told = learned.tell(old)
    told["records"][0][name], told["records"][1][name] = bad, float(bad)
    learned.take_in(new, json.loads(json.dumps(told)), 108.0)
    assert [worker for _, worker, _, _ in alone(new, 108.0)] == ["w2"]


@pytest.mark.parametrize(
    ("name", "bad"),
    [("usual", "nan"), ("usual", "1e9"), ("usual", -1), ("deviation", "inf"), ("answered", "nan")],
)
def test_a_way_with_a_time_that_is_none_is_left_out_alone(name: str, bad: Any) -> None:
    old, new = knowing(2), knowing(2)
    for pool in old.pools("web"):
        old.connected(pool, 1, 100.0, 100.02)
    told = learned.tell(old)
    told["paths"]["region-0"][name] = bad
    learned.take_in(new, told, 108.0)
    assert new.path("region-0").usual is None
    assert new.path("region-1").usual == old.path("region-1").usual


def test_nobody_is_left_alone_for_longer_than_is_ever_done_here() -> None:
    """Nor is what happened later than now the last word for ever."""
    old, new = knowing(), knowing()
    (pool,) = old.pools("web")
    old.connected(pool, 1, 100.0, 100.02)
    old.failed(pool, 0, Failure.REFUSED, 107.0, 107.0)
    told = learned.tell(old)
    told["paths"]["region-0"]["answered"] = 1e12
    told["records"][0] |= dict.fromkeys(("since", "began", "until", "returned"), 1000000000000.0)
    learned.take_in(new, told, 108.0)
    longest = DEFAULT_OUTLIERS.max_time
    assert alone(new, 108.0) == [("region-0", "w0", Failure.REFUSED, 108.0 + longest)]
    assert alone(new, 108.0 + longest) == []
    new.failed(new.pools("web")[0], 1, Failure.TIMEOUT, 109.0, 110.0)
    assert new.dead(new.pools("web")[0], 110.0), "the way: nobody has answered since"
    new.failed(new.pools("web")[0], 0, Failure.REFUSED, 500.0, 500.0)
    assert alone(new, 501.0) == [("region-0", "w0", Failure.REFUSED, 503.0)]


@given(st.one_of(JSON, st.fixed_dictionaries({"paths": JSON, "records": JSON})))
def test_what_is_not_understood_is_passed_over(told: Any) -> None:
    memory = knowing()
    learned.take_in(memory, told, 108.0)
    assert alone(memory, 108.0) == []


@given(st.dictionaries(st.sampled_from(["failures", "until", "held", "since", "more"]), JSON))
def test_a_record_of_another_version_harms_nothing(value: dict[str, Any]) -> None:
    """What it has is of the right kind, or it is passed over."""
    memory = knowing()
    named = {"service": "web", "region": "region-0", "worker": "w0", "reason": "refused"}
    learned.take_in(memory, {"records": [{**named, **value}]}, 108.0)
    (pool,) = memory.pools("web")
    for now in (108.0, 200.0):
        memory.failed(pool, 0, Failure.REFUSED, now, now)
        assert not memory.dead(pool, now)
