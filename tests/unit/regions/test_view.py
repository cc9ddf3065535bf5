"""What is told of the regions: their figures, and how much each may be given."""

from __future__ import annotations

from edgenode.health.risefall import State
from edgenode.regions.registry import TargetKey
from edgenode.regions.view import regions
from tests.unit.regions.worlds import states, with_keys

REGISTRY = with_keys(
    fra={"soft_limit": 10, "hard_limit": 20},
    iad={"draining": True},
    fra_1={"weight": 5, "hard_limit": 7, "draining": True},
)


def test_figures_and_limits_in_the_order_that_is_in_force() -> None:
    down = {TargetKey("fra", "fra-2", 8080): State.DOWN}
    found = regions(
        REGISTRY, states({"fra": 8.0, "iad": 80.0}, down, REGISTRY), ["iad", "fra", "sin"], 61.0
    )
    assert list(found) == ["iad", "fra", "sin"]
    fra = found["fra"]
    assert (fra["rtt_ms"], fra["soft_limit"], fra["hard_limit"]) == (8.0, 10, 20)
    assert (fra["healthy"], fra["workers"]) == (2, 2), "fra-2 answers on its other port"
    assert [found[name]["draining"] for name in found] == [True, False, False]
    assert found["sin"]["rtt_ms"] is None
    assert list(fra["targets"]) == ["fra-1:8080", "fra-1:2525", "fra-2:8080", "fra-2:2525"]
    one = fra["targets"]["fra-1:8080"]
    assert (one["weight"], one["hard_limit"], one["draining"], one["for"]) == (5, 7, True, 61.0)
    assert fra["targets"]["fra-2:8080"]["state"] == "down"


def test_a_worker_is_one_whatever_its_ports() -> None:
    down = {TargetKey("fra", "fra-2", port): State.DOWN for port in (8080, 2525)}
    rtts = {"fra": 8.0, "iad": 80.0}
    found = regions(REGISTRY, states(rtts, down, REGISTRY), ["fra", "iad", "sin"], 61.0)
    assert (found["fra"]["healthy"], found["fra"]["workers"]) == (1, 2)
