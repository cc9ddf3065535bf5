"""When a table is published, and what it holds."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgenode.health.risefall import State
from edgenode.regions.publisher import Publisher
from edgenode.regions.registry import TargetKey, from_config
from edgenode.steering.table import Logging, Table
from tests.unit.regions.worlds import BIND, REGISTRY, config, names, states, with_keys

rtts = st.none() | st.floats(1, 300)
worlds = st.fixed_dictionaries({}, optional={"fra": rtts, "iad": rtts, "sin": rtts})


@given(st.lists(st.tuples(worlds, st.floats(0, 8)), max_size=20))
def test_tables_hold_the_healthy_alone_and_revisions_mean_change(
    history: list[tuple[dict[str, float | None], float]],
) -> None:
    publisher = Publisher(REGISTRY, 0.0)
    now, last = 0.0, None
    for world, passed in history:
        now += passed
        table = publisher.update(states(world), now)
        up = {region for region, rtt in world.items() if rtt is not None}
        if table is not None:
            assert table.revision == (last.revision + 1 if last else 1)
            assert last is None or table.services != last.services
            last = table
        if last is not None:
            # Published or not: what is in force never has a region that is down.
            assert set(names(last.services[0])) == up
            assert set(names(last.services[1])) == up - {"sin"}


def test_the_first_table_waits_for_evidence() -> None:
    publisher = Publisher(REGISTRY, 0.0)
    assert publisher.update(states({}), 0.0) is None
    assert publisher.update(states({"fra": None}), 2.0) is None
    table = publisher.update(states({"fra": None, "iad": 20}), 2.5)
    assert table is not None
    assert names(table.services[0]) == ["iad"]


def test_the_first_table_does_not_wait_for_ever() -> None:
    publisher = Publisher(REGISTRY, 0.0)
    assert publisher.update(states({}), 4.9) is None
    assert publisher.update(states({}), 5.1) is not None
    dead = Publisher(REGISTRY, 0.0).update(states({"fra": None, "iad": None, "sin": None}), 1.0)
    assert dead is not None
    assert names(dead.services[0]) == []


def test_a_region_goes_at_once_and_comes_back_to_its_place() -> None:
    publisher = Publisher(REGISTRY, 0.0)
    seen = []
    for now, fra in ((1.0, 10.0), (1.1, None), (1.2, 10.5)):
        table = publisher.update(states({"fra": fra, "iad": 11, "sin": 90}), now)
        assert table is not None
        seen.append((table.revision, names(table.services[0])))
    assert seen == [
        (1, ["fra", "iad", "sin"]),
        (2, ["iad", "sin"]),
        (3, ["fra", "iad", "sin"]),
    ]


def test_a_mere_reordering_waits_its_turn() -> None:
    publisher = Publisher(REGISTRY, 0.0)
    assert publisher.update(states({"fra": 10, "iad": 20, "sin": 90}), 1.0)
    swapped = {"fra": 10.0, "iad": 5.0, "sin": 90.0}
    assert publisher.update(states(swapped), 2.0) is None
    assert publisher.order[0] == "iad"
    table = publisher.update(states(swapped), 6.0)
    assert table is not None
    assert names(table.services[0]) == ["iad", "fra", "sin"]
    assert publisher.update(states(swapped), 60.0) is None


def test_a_restart_steers_nobody_away() -> None:
    before = Publisher(REGISTRY, 0.0).update(states({"fra": 30, "iad": 20, "sin": None}), 1.0)
    assert before is not None
    assert names(before.services[0]) == ["iad", "fra"]
    after = Publisher(REGISTRY, 0.0, Table.from_json(before.to_json()))
    assert after.table == before
    assert after.update(states({}), 0.0) is None
    assert after.update(states({"fra": 30}), 100.0) is None
    gone = after.update(states({"fra": 30}, {TargetKey("iad", "iad-1", 8080): State.DOWN}), 2.0)
    assert gone is not None
    assert gone.revision == 2
    assert [worker.worker for worker in gone.services[0].regions[0].workers] == ["iad-2"]


def test_a_new_configuration_keeps_what_is_still_there() -> None:
    before = Publisher(REGISTRY, 0.0).update(states({"fra": 30, "iad": 20, "sin": None}), 1.0)
    moved = config().model_dump(mode="json")
    moved["regions"][0]["workers"][0]["addresses"] = ["198.51.100.250"]
    registry = from_config(config(regions=moved["regions"]), BIND)
    table = Publisher(registry, 0.0, before).update(states({}, registry=registry), 0.0)
    assert table is not None
    assert table.revision == 2
    assert [w.worker for r in table.services[0].regions for w in r.workers] == [
        "iad-1",
        "iad-2",
        "fra-2",
    ]


def test_another_budget_for_races_is_a_new_table() -> None:
    publisher = Publisher(REGISTRY, 0.0)
    assert publisher.update(states({"fra": 10, "iad": 20, "sin": 90}), 1.0)
    moved = config().model_dump(mode="json")
    moved["steering"]["dialing"]["hedge_share"] = 0.5
    moved["services"][0] |= {"hedge": False, "warm": 3}
    registry = from_config(config(**moved), BIND)
    after = Publisher(registry, 2.0)
    after.take_over(publisher)
    table = after.update(states({"fra": 10, "iad": 20, "sin": 90}, registry=registry), 2.0)
    assert table is not None
    assert (table.dialing.hedge_share, table.services[0].hedge) == (0.5, False)
    assert table.services[0].warm == 3


SLOW = with_keys(web={"slow_start": "30s"})
FRA_1 = TargetKey("fra", "fra-1", 8080)
ALL_UP = {"fra": 10.0, "iad": 20.0, "sin": 90.0}


def since(table: Table | None, worker: str = "fra-1") -> float:
    """When a worker came up, as service web's part of the table has it."""
    assert table is not None
    (found,) = (t for r in table.services[0].regions for t in r.workers if t.worker == worker)
    return found.since


def test_a_worker_that_returns_starts_slowly_and_others_do_not() -> None:
    publisher = Publisher(SLOW, 0.0)
    assert since(publisher.update(states(ALL_UP, registry=SLOW), 1.0, 1000.0)) == 0
    down = states(ALL_UP, {FRA_1: State.DOWN}, SLOW)
    assert publisher.update(down, 20.0, 1020.0) is not None
    back = publisher.update(states(ALL_UP, registry=SLOW), 30.0, 1030.0)
    assert (since(back), since(back, "fra-2")) == (1030.0, 0.0)
    assert publisher.update(states(ALL_UP, registry=SLOW), 99.0, 1099.0) is None, "it stays so"


def test_what_a_new_node_finds_has_been_up_for_long() -> None:
    publisher = Publisher(SLOW, 0.0)
    assert publisher.update(states({"fra": 10}, {FRA_1: State.UNKNOWN}, SLOW), 1.0, 1001.0)
    assert since(publisher.update(states(ALL_UP, registry=SLOW), 2.0, 1002.0)) == 0


def test_a_restart_is_no_return() -> None:
    before = Publisher(SLOW, 0.0)
    before.update(states(ALL_UP, {FRA_1: State.DOWN}, SLOW), 1.0, 1000.0)
    last = before.update(states(ALL_UP, registry=SLOW), 20.0, 1020.0)
    assert last is not None
    assert since(last) == 1020.0
    after = Publisher(SLOW, 0.0, Table.from_json(last.to_json()))
    assert after.update(states({}, registry=SLOW), 0.0, 1030.0) is None
    assert after.update(states(ALL_UP, registry=SLOW), 1.0, 1031.0) is None
    assert after.table is not None
    assert (since(after.table), since(after.table, "iad-1")) == (1020.0, 0.0)
    # One that was down when the other one ended has returned.
    gone = before.update(states(ALL_UP, {FRA_1: State.DOWN}, SLOW), 40.0, 1040.0)
    late = Publisher(SLOW, 0.0, gone)
    assert since(late.update(states(ALL_UP, registry=SLOW), 1.0, 1050.0)) == 1050.0


def test_another_configuration_and_other_workers_are_no_return() -> None:
    plain = Publisher(REGISTRY, 0.0)
    plain.update(states(ALL_UP, {FRA_1: State.DOWN}), 1.0, 1000.0)
    plain.update(states(ALL_UP), 20.0, 1020.0)
    slow = Publisher(SLOW, 21.0, plain.table)
    slow.take_over(plain)
    table = slow.update(states(ALL_UP, registry=SLOW), 21.0, 1021.0)
    assert table is not None
    assert table.revision == 3
    assert (since(table), since(table, "fra-2")) == (1020.0, 0.0), "known, though no table had it"
    weighty = with_keys(web={"slow_start": "30s"}, fra_1={"weight": 7})
    slow.take(weighty, 22.0)
    table = slow.update(states(ALL_UP, registry=weighty), 22.0, 1022.0)
    assert since(table) == 1020.0


def test_a_drain_is_at_once_and_its_end_is_no_return() -> None:
    publisher = Publisher(SLOW, 0.0)
    publisher.update(states(ALL_UP, registry=SLOW), 1.0, 1001.0)
    drained = with_keys(web={"slow_start": "30s"}, fra={"draining": True})
    publisher.take(drained, 2.0)
    table = publisher.update(states(ALL_UP, registry=drained), 2.0, 1002.0)
    assert table is not None
    assert names(table.services[0]) == ["iad", "sin"]
    publisher.take(SLOW, 30.0)
    table = publisher.update(states(ALL_UP, registry=SLOW), 30.0, 1030.0)
    assert table is not None
    assert names(table.services[0]) == ["fra", "iad", "sin"]
    assert since(table) == 0


def test_a_suspect_leaves_and_returns_at_once_and_starts_no_slower() -> None:
    publisher = Publisher(SLOW, 0.0)
    up = states({"fra": 10, "iad": 20, "sin": 90}, registry=SLOW)
    before = publisher.update(up, 1.0, 1e9)
    suspected = {
        key: replace(one, suspect="no answer" if key.region == "fra" else "")
        for key, one in up.items()
    }
    during = publisher.update(suspected, 1.1, 1e9 + 0.1)
    after = publisher.update(up, 1.2, 1e9 + 0.2)
    assert before is not None
    assert during is not None
    assert after is not None
    assert names(during.services[0]) == ["iad", "sin"]
    assert after.services == before.services


def test_outliers_go_out_with_the_table() -> None:
    publisher = Publisher(REGISTRY, 0.0)
    publisher.update(states(ALL_UP), 1.0)
    stern = from_config(config(steering={"outliers": {"failures": 2}}), BIND)
    publisher.take(stern, 2.0)
    table = publisher.update(states(ALL_UP, registry=stern), 2.0)
    assert table is not None
    assert table.outliers.failures == 2


def test_what_is_logged_goes_out_with_the_table() -> None:
    publisher = Publisher(REGISTRY, 0.0)
    publisher.update(states(ALL_UP), 1.0)
    brief = from_config(config(steering={"access_log": {"sample": 0.1, "long_after": "1h"}}), BIND)
    publisher.take(brief, 2.0)
    table = publisher.update(states(ALL_UP, registry=brief), 2.0)
    assert table is not None
    assert table.logging == Logging(0.1, 3600.0)
