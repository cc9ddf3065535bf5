"""What is counted is bounded: names that left the table go."""

from __future__ import annotations

from typing import Any

import pytest

from edgenode.steering import outliers, report
from edgenode.steering.counters import Counters
from edgenode.steering.memory import Memory
from edgenode.steering.outliers import Failure
from edgenode.steering.report import MOST_NAMES
from edgenode.steering.table import Bind, RegionTargets, Service, Table, Target


def table(*services: str, region: str = "fra", workers: tuple[str, ...] = ("fra-1",)) -> Table:
    targets = tuple(Target(worker, "198.51.100.201", 80) for worker in workers)
    regions = (RegionTargets(region, targets),)
    made = tuple(Service(name, (), "none", 1.0, 60.0, regions) for name in services)
    return Table(1, "lon1", Bind(), made)


def test_a_service_is_forgotten_with_its_last_connection() -> None:
    counters = Counters()
    web, mail = counters.service("web"), counters.service("mail")
    web.live = mail.accepted = 1
    counters.forget(table("dns"))
    assert list(counters.services) == ["web"]
    web.live = 0
    counters.forget(table("dns"))
    keys = ("services", "figures", "full", "targets", "shortages")
    assert counters.to_json() == {key: {} for key in keys}


def test_figures_of_many_services_are_told_in_turns() -> None:
    counters = Counters()
    for number in range(10):
        for region in ("fra", "iad", "sin"):
            counters.connected(counters.service(f"s-{number}"), (region, "w"), 0.01)
    told: list[set[str]] = []
    known: dict[str, Any] = {}
    for _ in range(5):
        message = counters.to_json(9)  # two services, each with three regions
        told.append(set(message["figures"]))
        known = report.succeed(known, message)
    assert [len(some) for some in told] == [2] * 5
    assert set().union(*told) == set(counters.services)
    assert known == counters.to_json()
    counters.to_json(9)
    assert len(counters.to_json()["figures"]) == 10, "whoever asks for all has all"
    del counters.services["s-3"]
    known = report.succeed(known, counters.to_json(1))
    assert "s-3" not in known["figures"]
    assert len(counters.to_json(1)["figures"]) == 1, "one that has more is told all the same"


def test_targets_and_regions_are_forgotten_once_they_are_many() -> None:
    counters = Counters()
    web = counters.service("web")
    key = ("fra", "fra-1")
    for number in range(MOST_NAMES - 1):
        counters.attempt_failed(web, (f"r-{number}", "worker"), Failure.REFUSED)
    counters.connected(web, key, 0.1)
    counters.forget(table("web", region="iad"))
    assert len(counters.connect_failures) == MOST_NAMES - 1  # they may be back
    for number in range(10 * MOST_NAMES):
        counters.attempt_failed(web, (f"s-{number}", "worker"), Failure.REFUSED)
        if number % 100 == 0:
            counters.forget(table("web", region="iad"))
            assert len(counters.connect_failures) <= MOST_NAMES + 100
            assert len(web.regions) <= MOST_NAMES + 100
    counters.closed(web, key)  # one that lives is never forgotten
    assert web.regions["fra"].live == counters.target_live[key] == 0


def test_the_bytes_of_a_region_that_is_forgotten_are_still_the_services() -> None:
    counters = Counters()
    web = counters.service("web")
    for number in range(MOST_NAMES + 1):
        web.region(f"r-{number}").up.bytes = 2
    counters.forget(table("web"))
    assert not web.regions
    assert counters.to_json()["services"]["web"]["bytes_up"] == 2 * (MOST_NAMES + 1)


def test_retired_totals_are_forgotten_too() -> None:
    many = {f"fra/w-{number}": {"connect_failures": 1} for number in range(MOST_NAMES)}
    totals: dict[str, Any] = {
        "services": {"web": {"accepted": 1}, "mail": {"accepted": 2}},
        "targets": many | {"fra/fra-1": {"connect_failures": 3}},
        "totals": {"log_dropped": 4},
    }
    assert report.forget(totals, table("web")) == {
        "services": {"web": {"accepted": 1}},
        "targets": {"fra/fra-1": {"connect_failures": 3}},
        "totals": {"log_dropped": 4},
    }
    assert report.forget({}, table("web")) == {}


def test_what_connections_have_learned_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outliers, "_MOST_RECORDS", 400)
    memory = Memory()
    for number in range(800):
        memory.apply(table("web", region=f"r-{number}"), 0.0, 0.0)
        (pool,) = memory.pools("web")
        memory.failed(pool, 0, Failure.REFUSED, 0.0, 0.0)
    assert len(memory._outliers._records) <= 401
    assert len(memory._paths) <= 300
    assert len(memory._columns) <= 10


def test_a_region_that_was_away_for_a_while_is_still_known() -> None:
    memory = Memory()
    memory.apply(table("web"), 0.0, 0.0)
    memory.connected(memory.pools("web")[0], 0, 1.0, 1.02)
    memory.apply(table("web", region="iad"), 2.0, 2.0)
    assert memory.path("fra").usual is not None
