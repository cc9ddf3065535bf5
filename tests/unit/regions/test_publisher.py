"""When a table is published, and what it holds."""

from hypothesis import given
from hypothesis import strategies as st

from edgenode.health.risefall import State
from edgenode.regions.publisher import Publisher
from edgenode.regions.registry import TargetKey, from_config
from edgenode.steering.table import Table
from tests.unit.regions.worlds import BIND, REGISTRY, config, names, states

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
