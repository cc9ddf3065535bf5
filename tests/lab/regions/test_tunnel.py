"""Probes through a real tunnel: what they find, and that they never go another way."""

import re
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from edgenode.config import Config
from edgenode.lab import netns
from edgenode.lab.waiting import wait_until
from edgenode.regions import Regions
from edgenode.steering.table import Bind, Table
from tests.lab.loops import at_work
from tests.lab.mesh.pair import PORT, Node, pair, server
from tests.unit.regions.worlds import config, names


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    with pair(tmp_path) as (edge, worker):
        edge.ensure(worker)
        worker.ensure(edge)
        yield edge, worker


def two_families(worker: Node) -> Config:
    """The worker's two addresses as two workers, so that both families are probed."""
    workers = [{"name": "v4", "addresses": [worker.v4]}, {"name": "v6", "addresses": [worker.v6]}]
    probe = {"interval": "100ms", "timeout": "200ms", "rise": 2, "fall": 2}
    service = {"name": "web", "group": "web", "listen": ["203.0.113.1:80"], "port": PORT}
    regions = [{"name": "fra", "workers": workers, "probe": probe}]
    return config(services=[service], regions=regions)


@contextmanager
def running(edge: Node, worker: Node, tables: list[Table]) -> Iterator[Regions]:
    """Regions in a thread of the edge's namespace."""

    def begin() -> tuple[Regions, Coroutine[Any, Any, None]]:
        bind = Bind(edge.device, edge.v4, edge.v6)
        regions = Regions(two_families(worker), bind, tables.append)
        return regions, regions.run()

    with at_work(edge.namespace, begin) as regions:
        yield regions


def up(tables: list[Table]) -> list[str]:
    """The workers in force."""
    regions = tables[-1].services[0].regions if tables else ()
    return [target.worker for region in regions for target in region.workers]


def test_a_dead_path_is_found_and_its_return_too(nodes: tuple[Node, Node]) -> None:
    edge, worker = nodes
    seen: list[str] = []
    tables: list[Table] = []
    with server(worker, seen), running(edge, worker, tables) as regions:
        wait_until(lambda: up(tables) == ["v4", "v6"], 10, "both families up")
        assert names(tables[-1].services[0]) == ["fra"]
        rtt = regions.status()["regions"]["fra"]["rtt_ms"]
        assert 0 < rtt < 100
        worker.nft(
            f"add table inet t; add chain inet t i {{ type filter hook input priority 0; }};"
            f"add rule inet t i tcp dport {PORT} ip daddr {worker.v4} drop"
        )
        wait_until(lambda: up(tables) == ["v6"], 10, "v4 down")
        worker.nft(f"add rule inet t i tcp dport {PORT} drop")
        wait_until(lambda: up(tables) == [], 10, "v6 down")
        assert regions.reachable("web") is False
        reason = regions.status()["regions"]["fra"]["targets"][f"v6:{PORT}"]["reason"]
        assert reason == f"connection to [{worker.v6}]:{PORT}: no answer within 200 ms"
        worker.nft("delete table inet t")
        wait_until(lambda: up(tables) == ["v4", "v6"], 10, "both up again")
    assert set(seen) == {edge.v4, edge.v6}, "the source is the edge's mesh address"


def test_nothing_leaves_beside_the_tunnel(nodes: tuple[Node, Node]) -> None:
    """With the mesh routes gone and a default route through the link, all the same."""
    edge, worker = nodes
    edge.nft(
        "add table inet t;"
        "add chain inet t o { type filter hook output priority 0; };"
        f'add rule inet t o oifname "{edge.veth}" ip daddr {worker.v4} counter;'
        f'add rule inet t o oifname "{edge.veth}" ip6 daddr {worker.v6} counter'
    )
    netns.configure(
        edge.namespace,
        [
            f"route del {worker.v4}/32 dev {edge.device}",
            f"route del {worker.v6}/128 dev {edge.device}",
            f"route add default via {worker.underlay}",
            f"route add ::/0 dev {edge.veth}",
        ],
    )

    def leaked() -> list[int]:
        listing = netns.run(["nft", "list", "table", "inet", "t"], namespace=edge.namespace)
        return [int(n) for n in re.findall(r"counter packets (\d+)", listing)]

    tables: list[Table] = []
    with server(worker, []), running(edge, worker, tables):
        wait_until(lambda: bool(tables), 10, "a first table")
        assert leaked() == [0, 0]
    for address in (worker.v4, worker.v6):
        with suppress(OSError):
            edge.dial(address, timeout=0.2).close()
    assert all(packets > 0 for packets in leaked()), "an unbound socket does leave there"


def test_without_the_device_no_worker_is_up(nodes: tuple[Node, Node]) -> None:
    edge, worker = nodes
    edge.stop_wireguard()
    tables: list[Table] = []
    with server(worker, []), running(edge, worker, tables) as regions:
        wait_until(lambda: regions.reachable("web") is False, 10, "unreachable")
        reason = regions.status()["regions"]["fra"]["targets"][f"v4:{PORT}"]["reason"]
    said = f"cannot reach {worker.v4}:{PORT} from {edge.v4} on {edge.device}: No such device"
    assert reason == said
