"""Workers that come and go while the regions run: nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from edgenode.config import Config
from edgenode.config.schema import Worker as WorkerSection
from edgenode.regions import Regions
from edgenode.regions.registry import from_config
from tests.unit.regions.test_regions import UNBOUND, Seen, Worker, two_regions, until


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    made = [Worker(f"127.0.71.{n}", port) for n in (1, 2, 3)]
    yield made
    for worker in made:
        worker.stop()


def with_workers(base: Config, **names: list[str]) -> Config:
    """The same regions, with other workers: their addresses."""
    regions = tuple(
        region.model_copy(
            update={
                "workers": tuple(
                    WorkerSection.model_validate({"name": f"w{a[-1]}", "addresses": [a]})
                    for a in names.get(region.name, [])
                )
            }
        )
        for region in base.regions
    )
    return base.model_copy(update={"regions": regions})


async def test_a_worker_more_and_one_less(workers: list[Worker]) -> None:
    base = two_regions(workers[0].port)
    for worker in workers:
        worker.start()
    first = with_workers(base, fra=["127.0.71.1"], iad=["127.0.71.2"])
    seen = Seen()
    regions = Regions(first, UNBOUND, seen.tables.append)
    running = asyncio.create_task(regions.run())
    try:
        await until(lambda: sorted(seen.order) == ["fra", "iad"], "both regions")
        before = regions.status()["regions"]["fra"]["targets"]
        tables = len(seen.tables)
        more = with_workers(base, fra=["127.0.71.1", "127.0.71.3"])
        regions.take(from_config(more, UNBOUND))
        # The one that has gone is out of the table at once; the one that stays was never out.
        assert [table.services[0].regions[0].region for table in seen.tables[tables:]] == ["fra"]
        assert [t.worker for t in seen.tables[-1].services[0].regions[0].workers] == ["w1"]
        after = regions.status()["regions"]["fra"]["targets"]
        key = f"w1:{workers[0].port}"
        assert after[key]["state"] == before[key]["state"] == "up"
        assert after[key]["for"] >= before[key]["for"]
        await until(
            lambda: (
                {t.worker for t in seen.tables[-1].services[0].regions[0].workers} == {"w1", "w3"}
            ),
            "the new one is found",
        )
        workers[2].stop()
        await until(
            lambda: [t.worker for t in seen.tables[-1].services[0].regions[0].workers] == ["w1"],
            "and it is probed from then on",
        )
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_without_the_workers_the_last_table_stays(workers: list[Worker]) -> None:
    """Control starts, and neither etcd nor a copy can say who the workers are."""
    base = two_regions(workers[0].port)
    workers[0].start()
    known = with_workers(base, fra=["127.0.71.1"])
    seen = Seen()
    regions = Regions(known, UNBOUND, seen.tables.append)
    running = asyncio.create_task(regions.run())
    await until(lambda: seen.order == ["fra"], "a table")
    running.cancel()
    await asyncio.wait([running])
    last = seen.tables[-1]

    told = Seen()
    nothing = with_workers(base)
    regions = Regions(
        nothing,
        UNBOUND,
        told.tables.append,
        lambda service, is_reachable: told.reachable.append((service, is_reachable)),
        last=last,
        complete=False,
    )
    running = asyncio.create_task(regions.run())
    try:
        await asyncio.sleep(0.3)
        assert (told.tables, told.reachable) == ([], [])
        assert regions.reachable("web") is None
        regions.take(from_config(known, UNBOUND))
        assert told.tables == [], "what is in force stays so while it is probed"
        await until(lambda: regions.reachable("web") is True, "it is reachable")
        assert told.tables == []
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_registry_that_never_answers_hides_no_death_of_a_configured_worker(
    workers: list[Worker],
) -> None:
    """[registry] was added, and its etcd cannot be reached: what was known is all there is."""
    config = with_workers(two_regions(workers[0].port), fra=["127.0.71.1"], iad=["127.0.71.2"])
    for worker in workers[:2]:
        worker.start()
    seen = Seen()
    regions = Regions(config, UNBOUND, seen.tables.append)
    running = asyncio.create_task(regions.run())
    await until(lambda: sorted(seen.order) == ["fra", "iad"], "both regions")
    running.cancel()
    await asyncio.wait([running])

    after = Regions(config, UNBOUND, seen.tables.append, complete=False, before=regions)
    running = asyncio.create_task(after.run())
    try:
        workers[0].stop()
        await until(lambda: seen.order == ["iad"], "the dead one is out of the table")
        workers[1].stop()
        await until(lambda: after.reachable("web") is False, "none can be reached")
    finally:
        running.cancel()
        await asyncio.wait([running])
