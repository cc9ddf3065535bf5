"""What `./run bench failover` computes of the users' requests."""

from __future__ import annotations

from edgenode.lab import plan
from edgenode.lab.users import Request
from tests.bench import failover
from tests.bench.deaths import EDGE


def request(started: float, took: float, ok: bool = True) -> Request:
    return Request(started, None, started + took, ok, None if ok else "timeout", None)


def test_only_what_comes_within_a_second_after_a_cut_counts() -> None:
    requests = [request(at / 100, 0.05) for at in range(1000)]
    requests[250] = request(2.5, 0.2)
    found = failover.figures(requests, [2.0, 7.0])
    assert found["connections"] == 200
    assert (found["p50"], found["max"], found["failed"]) == (50.0, 200.0, 0)


def test_who_is_never_served_has_waited_as_long_as_he_would() -> None:
    found = failover.figures([request(1.0, 0.01), request(1.5, 0.5, ok=False)], [1.0])
    assert found["max"] == failover.TIMEOUT * 1000
    assert found["failed"] == 1


def test_the_nearest_rank() -> None:
    values = [float(number) for number in range(1, 201)]
    assert failover.percentile(values, 0.5) == 101
    assert failover.percentile(values, 0.99) == 199
    assert failover.percentile([7.0], 0.99) == 7


def test_the_first_choice_is_the_nearest_region() -> None:
    for name in failover.NEXT.values():
        topology = plan(failover.delays(), failover.layout(name))
        assert topology.regions_by_distance(EDGE) == (failover.FIRST, name)
