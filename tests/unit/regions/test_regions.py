"""The regions over real sockets on loopback, without a mesh."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from edgenode.config import Config
from edgenode.regions import Regions
from edgenode.steering.report import Report, TargetReport
from edgenode.steering.table import Bind, Table
from tests.unit.regions.worlds import config, names
from tests.unit.regions.worlds import workers as workers_of

UNBOUND = Bind()


@dataclass
class Worker:
    """A port of the loopback range that is refused unless `listener` is there."""

    address: str
    port: int
    listener: socket.socket | None = None

    def start(self) -> None:
        self.listener = socket.create_server((self.address, self.port), backlog=64)

    def stop(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None


@dataclass
class Seen:
    tables: list[Table] = field(default_factory=list)
    reachable: list[tuple[str, bool | None]] = field(default_factory=list)

    @property
    def order(self) -> list[str]:
        return names(self.tables[-1].services[0]) if self.tables else ["none yet"]


@pytest.fixture
def workers() -> Iterator[tuple[Worker, Worker]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    pair = Worker("127.0.71.1", port), Worker("127.0.71.2", port)
    yield pair
    for worker in pair:
        worker.stop()


def two_regions(port: int, interval: str = "50ms") -> Config:
    regions = [
        {
            "name": name,
            "workers": [{"name": f"{name}-1", "addresses": [f"127.0.71.{n}"]}],
            "probe": {"interval": interval, "timeout": "500ms", "rise": 2, "fall": 2},
        }
        for n, name in enumerate(("fra", "iad"), 1)
    ]
    service = {"name": "web", "group": "web", "listen": ["203.0.113.1:80"], "port": port}
    return config(services=[service], regions=regions)


async def until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"waited 5 s in vain: {what}")


async def test_workers_come_and_go(workers: tuple[Worker, Worker]) -> None:
    fra, iad = workers
    seen = Seen()
    regions = Regions(
        two_regions(fra.port),
        UNBOUND,
        seen.tables.append,
        lambda service, is_reachable: seen.reachable.append((service, is_reachable)),
    )
    assert regions.reachable("web") is None
    assert regions.table is None
    running = asyncio.create_task(regions.run())
    fra.start()
    try:
        await until(lambda: seen.order == ["fra"], "fra in the table")
        assert regions.reachable("web") is True
        iad.start()
        await until(lambda: sorted(seen.order) == ["fra", "iad"], "iad too")
        status = regions.status()
        assert status["regions"]["fra"]["rtt_ms"] < 100
        assert status["regions"]["fra"]["targets"][f"fra-1:{fra.port}"]["state"] == "up"
        fra.stop()
        iad.stop()
        await until(lambda: seen.order == [], "no region left")
        assert regions.reachable("web") is False
        target = regions.status()["regions"]["fra"]["targets"][f"fra-1:{fra.port}"]
        assert target["reason"] == f"connection to 127.0.71.1:{fra.port} refused"
        iad.start()
        await until(lambda: seen.order == ["iad"], "iad again")
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert [is_reachable for _, is_reachable in seen.reachable] == [True, False, True]
    revisions = [table.revision for table in seen.tables]
    assert revisions == list(range(1, len(revisions) + 1))


async def test_a_relays_failure_is_looked_into_at_once(workers: tuple[Worker, Worker]) -> None:
    fra, iad = workers
    fra.start()
    iad.start()
    seen = Seen()
    slow = two_regions(fra.port, interval="600ms")
    regions = Regions(slow, UNBOUND, seen.tables.append)
    running = asyncio.create_task(regions.run())
    try:
        await until(lambda: sorted(seen.order) == ["fra", "iad"], "both in the table")
        fra.stop()
        began = asyncio.get_running_loop().time()
        for failures in (1, 2):
            regions.report(Report(at=0.0, targets={"fra/fra-1": TargetReport(failures)}))
            await asyncio.sleep(0.05)
        await until(lambda: seen.order == ["iad"], "fra out of the table")
        assert asyncio.get_running_loop().time() - began < 0.5
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_a_worker_that_fails_users_and_no_probe_is_not_probed_without_end(
    workers: tuple[Worker, Worker],
) -> None:
    fra, _ = workers
    fra.start()
    assert fra.listener is not None
    fra.listener.setblocking(False)
    seen = Seen()
    regions = Regions(two_regions(fra.port, interval="1s"), UNBOUND, seen.tables.append)
    running = asyncio.create_task(regions.run())
    probes = 0
    try:
        await until(lambda: seen.order == ["fra"], "fra in the table")
        for _ in range(50):
            regions.suspect(["fra/fra-1", "iad/unknown"])
            await asyncio.sleep(0.01)
            with suppress(BlockingIOError):
                while True:
                    fra.listener.accept()[0].close()
                    probes += 1
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert 3 <= probes <= 7, "those before the table, and one each 200 ms"


async def test_another_configuration_goes_on_with_what_is_known(
    workers: tuple[Worker, Worker],
) -> None:
    fra, iad = workers
    fra.start()
    iad.start()
    seen = Seen()
    before = Regions(two_regions(fra.port), UNBOUND, seen.tables.append)
    running = asyncio.create_task(before.run())
    await until(lambda: sorted(seen.order) == ["fra", "iad"], "both in the table")
    running.cancel()
    same, other = two_regions(fra.port), two_regions(fra.port, interval="10s")
    kept = Regions(same, UNBOUND, seen.tables.append, before=before)
    assert kept.reachable("web") is True
    assert kept.table == before.table
    assert kept.status()["regions"]["fra"]["rtt_ms"] is not None
    anew = Regions(other, UNBOUND, seen.tables.append, before=before)
    assert anew.reachable("web") is None, "probed in another way"
    assert anew.table == before.table
    with suppress(asyncio.CancelledError):
        await running


async def test_the_dead_are_found_within_one_and_a_half_intervals(
    workers: tuple[Worker, Worker],
) -> None:
    fra, iad = workers
    fra.start()
    iad.start()
    seen = Seen()
    regions = Regions(two_regions(fra.port, interval="1s"), UNBOUND, seen.tables.append)
    running = asyncio.create_task(regions.run())
    try:
        await until(lambda: sorted(seen.order) == ["fra", "iad"], "both in the table")
        fra.stop()
        began = asyncio.get_running_loop().time()
        await until(lambda: seen.order == ["iad"], "fra out of the table")
        assert asyncio.get_running_loop().time() - began < 1.5
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_many_verdicts_make_few_tables() -> None:
    """However long a table takes, the loop is free most of the time."""
    with socket.create_server(("0.0.0.0", 0), backlog=256) as server:
        port = server.getsockname()[1]
        names_ = [f"w{n}" for n in range(40)]
        region = {
            "name": "fra",
            "workers": [{"name": w, "addresses": [f"127.0.72.{w[1:]}"]} for w in names_],
            "probe": {"interval": "200ms", "timeout": "500ms", "rise": 2, "fall": 2},
        }
        service = {"name": "web", "group": "web", "listen": ["203.0.113.1:80"], "port": port}
        seen = Seen()

        def publish(table: Table) -> None:
            seen.tables.append(table)
            time.sleep(0.02)

        regions = Regions(config(services=[service], regions=[region]), UNBOUND, publish)
        running = asyncio.create_task(regions.run())
        began = asyncio.get_running_loop().time()
        try:
            await until(
                lambda: bool(seen.tables) and len(workers_of(seen.tables[-1].services[0])) == 40,
                "all in the table",
            )
            took = asyncio.get_running_loop().time() - began
            assert len(seen.tables) < 20
            assert len(seen.tables) * 0.02 < 0.4 * took
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def test_a_worker_behind_a_bad_way_leaves_the_table(workers: tuple[Worker, Worker]) -> None:
    fra, iad = workers
    fra.start()
    iad.start()
    seen = Seen()
    bad: dict[str, str] = {}
    regions = Regions(
        two_regions(fra.port),
        UNBOUND,
        seen.tables.append,
        path_problem=lambda address: bad.get(str(address)),
    )
    running = asyncio.create_task(regions.run())
    try:
        await until(lambda: sorted(seen.order) == ["fra", "iad"], "both in the table")
        bad[fra.address] = "full-size packets do not pass"
        regions.look()
        await until(lambda: seen.order == ["iad"], "fra out of the table")
        target = regions.status()["regions"]["fra"]["targets"][f"fra-1:{fra.port}"]
        assert (target["state"], target["reason"]) == ("down", "full-size packets do not pass")
        bad[iad.address] = "no handshake for 200 s"
        regions.look()
        await until(lambda: regions.reachable("web") is False, "nothing is reachable")
        assert sorted(seen.order) == ["fra", "iad"], "whoever comes all the same is not refused"
        bad.clear()
        regions.look()
        await until(lambda: regions.reachable("web") is True, "both again")
        assert sorted(seen.order) == ["fra", "iad"]
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
