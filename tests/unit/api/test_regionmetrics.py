"""Metrics of regions and tunnels: a line each, whatever the number of workers."""

from __future__ import annotations

from typing import Any

from prometheus_client import generate_latest

from edgenode.api.metrics import registry
from tests.unit.api.test_api import STATUS


def lines(**changes: Any) -> list[str]:
    status = STATUS | changes
    return generate_latest(registry(lambda: status)).decode().splitlines()


def path(**changes: Any) -> dict[str, Any]:
    return {
        "name": "fra",
        "state": "good",
        "bad": False,
        "rtt_ms": 8.5,
        "loss": 0.25,
        "mtu": {"configured": 1420, "proven": 1380, "lowered": 1380},
    } | changes


PEER = {
    "name": "fra",
    "handshake_age": 12.5,
    "stale": False,
    "rx": 100,
    "tx": 200,
    "endpoint": None,
}


def test_tunnels() -> None:
    found = lines(mesh={"peers": [PEER]}, paths=[path()])
    for line in (
        'edgenode_mesh_handshake_age_seconds{peer="fra"} 12.5',
        'edgenode_mesh_peer_stale{peer="fra"} 0.0',
        'edgenode_mesh_receive_bytes_total{peer="fra"} 100.0',
        'edgenode_mesh_transmit_bytes_total{peer="fra"} 200.0',
        'edgenode_mesh_path_rtt_seconds{peer="fra"} 0.0085',
        'edgenode_mesh_path_loss_ratio{peer="fra"} 0.25',
        'edgenode_mesh_path_mtu_bytes{peer="fra"} 1380.0',
        'edgenode_mesh_path_mtu_configured_bytes{peer="fra"} 1420.0',
        'edgenode_mesh_path_bad{peer="fra"} 0.0',
        'edgenode_mesh_path_state{peer="fra",state="good"} 1.0',
    ):
        assert line in found


def test_what_is_not_known_is_absent() -> None:
    silent = path(
        rtt_ms=None, loss=None, state="dead", bad=True, mtu={"configured": 1420, "proven": None}
    )
    peer = PEER | {"handshake_age": None, "stale": True}
    found = lines(mesh={"peers": [peer]}, paths=[silent])
    assert 'edgenode_mesh_path_bad{peer="fra"} 1.0' in found
    assert 'edgenode_mesh_peer_stale{peer="fra"} 1.0' in found
    for absent in ("path_rtt_seconds{", "path_loss_ratio{", "path_mtu_bytes{", "handshake_age_"):
        assert not [line for line in found if absent in line and not line.startswith("#")]


def test_regions() -> None:
    targets = {"fra/a": {"live": 3}, "fra/b": {"live": 4}, "iad/c": {"live": 1}}
    ejections = [
        {"region": "fra", "worker": worker, "ejections": times}
        for worker, times in (("a", 1), ("a", 2), ("b", 0), (None, 1))
    ]
    report = STATUS["steering"]["report"] | {
        "targets": targets,
        "ejections": ejections,
        "full": {"web": 9},
    }
    found = lines(
        steering=STATUS["steering"] | {"report": report},
        services=[{"name": "web", "reachable": True}, {"name": "new", "reachable": None}],
    )
    for line in (
        'edgenode_region_connections{region="fra"} 7.0',
        'edgenode_region_workers_ejected{region="fra"} 1.0',
        'edgenode_service_reachable{service="web"} 1.0',
        'edgenode_service_full_total{service="web"} 9.0',
    ):
        assert line in found
    assert not [line for line in found if 'service="new"' in line]


def test_thousands_of_workers_are_no_more_lines() -> None:
    few = [{"name": "fra", "rtt_ms": 1.0, "workers_up": 1, "workers": 1, "targets": {}}]
    many = [few[0] | {"workers": 10_000}]
    report = STATUS["steering"]["report"] | {
        "targets": {f"fra/w{n}": {"live": 1, "connect_failures": 0} for n in range(10_000)}
    }
    steering = STATUS["steering"] | {"report": report}
    assert len(lines(regions=many, steering=steering)) == len(lines(regions=few))


def test_siblings() -> None:
    edges = [
        {"name": "nyc1", "heard_s_ago": 0.5, "fresh": True, "refused": 3},
        {"name": "sin1", "heard_s_ago": None, "fresh": False, "refused": 0},
    ]
    found = lines(
        siblings={"edges": edges, "conflicts": ["198.51.100.193 is ours, and sin1's"], "stale": ""},
        services=[{"name": "web", "reachable": None, "cause": "everywhere"}],
    )
    for line in (
        'edgenode_sibling_heard_age_seconds{sibling="nyc1"} 0.5',
        'edgenode_sibling_fresh{sibling="sin1"} 0.0',
        'edgenode_sibling_refused_total{sibling="nyc1"} 3.0',
        "edgenode_sibling_conflicts 1.0",
        "edgenode_registry_stale 0.0",
        'edgenode_service_cause{cause="everywhere",service="web"} 1.0',
    ):
        assert line in found
    assert not [line for line in found if 'heard_age_seconds{sibling="sin1"' in line]
