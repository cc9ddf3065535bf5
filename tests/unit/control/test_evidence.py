"""What this node knows, put together: findings, and what follows for its announcements."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from edgenode.control.evidence import Evidence
from edgenode.mesh import PeerStatus
from edgenode.regions.evidence import Cause, RegionStands, ServiceStands
from edgenode.regions.stands import Way
from edgenode.siblings.message import Message
from tests.unit.siblings.test_siblings import configuration
from tests.unit.siblings.told import message, service

FRA = RegionStands("fra", up=1, down=0)
WELL = ServiceStands(True, 100.0, 0.0, (FRA,))


@dataclass
class Regions:
    """As far as evidence asks them."""

    now: ServiceStands = WELL
    table: Any = None
    looks: int = 0

    def stands(self, way: Way) -> dict[str, ServiceStands]:
        self.looks += 1
        return {"web": self.now}

    def die(self, answered: float, since: float) -> None:
        dead = replace(FRA, up=0, down=1)
        self.now = ServiceStands(False, answered, since, (dead,))


@dataclass
class World:
    now: float = 100.0
    seen: tuple[PeerStatus, ...] = ()
    public_key: str = ""
    trouble: str = ""
    edges: bool = True
    regions: Regions = field(default_factory=Regions)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.evidence = self.another()

    def another(self, before: Evidence | None = None) -> Evidence:
        config = configuration("lon1", 51821)
        if config.mesh and not self.edges:
            alone = config.mesh.model_copy(update={"peers": config.mesh.peers[:1]})
            config = config.model_copy(update={"mesh": alone})
        return Evidence(
            config,
            self.regions,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            lambda kind, subject, text: self.notes.append(f"{kind} {subject}: {text}"),
            path_problem=lambda address: None,
            before=before,
            clock=lambda: self.now,
        )

    def hear(self, sibling: str, reachable: bool, silent: float = 0.1) -> None:
        told: Message = message(
            int(self.now * 100),
            self.now,
            boot={"nyc1": "1", "sin1": "2"}[sibling] * 16,
            services=[service(reachable, silent)],
        )
        self.evidence.siblings.views.hear(sibling, told, self.now)

    def look(self) -> tuple[Cause, bool | None]:
        self.evidence.look()
        found = self.evidence.findings["web"]
        assert found.reachable is self.evidence.reachable("web")
        return found.cause, found.reachable


def stale(name: str) -> PeerStatus:
    return PeerStatus(name, None, 0, 0, None, keepalive=True)


def test_until_it_was_looked_nothing_is_known() -> None:
    world = World()
    assert world.evidence.reachable("web") is None
    assert world.evidence.against(["web"]) == []
    assert world.look() == (Cause.HEALTHY, True)
    assert world.evidence.status()[0]["reachable"] is True


def test_a_node_that_its_siblings_outlive_says_no_and_why() -> None:
    world = World()
    world.look()
    world.now = 104.0
    world.regions.die(answered=101.0, since=104.0)
    world.hear("nyc1", True, silent=0.2)
    assert world.look() == (Cause.MY_NODE, False)
    (reason,) = world.evidence.against(["web"])
    assert reason.startswith("service web (my-node): nyc1 reaches its workers")
    assert [note for note in world.notes if "evidence web: my-node" in note]


def test_what_is_dead_for_all_is_kept_and_said() -> None:
    world = World()
    world.look()
    world.now = 104.0
    world.regions.die(answered=101.0, since=104.0)
    for sibling in ("nyc1", "sin1"):
        world.hear(sibling, False)
    assert world.look() == (Cause.EVERYWHERE, None)
    assert "nyc1 and sin1 see the same" in world.evidence.against(["web"])[0]


def test_it_is_noted_once_as_long_as_it_lasts() -> None:
    world = World()
    for second in range(5):
        world.now = 104.0 + second
        world.regions.die(answered=101.0, since=104.0)
        world.hear("nyc1", False)
        news = world.evidence.look()
        assert news is (second == 0)
    assert len([note for note in world.notes if "everywhere" in note]) == 1


def test_relays_that_serve_nobody_are_this_nodes_fault() -> None:
    world = World()
    world.look()
    world.trouble = "no relay worker answers"
    assert world.look() == (Cause.MY_NODE, False)
    assert world.evidence.against(["web"]) == ["service web (my-node): no relay worker answers"]


def test_workers_behind_a_bad_way_are_lost_when_they_are_seen_to_be() -> None:
    """Their probes are answered all the same: what siblings say is dated from then on."""
    world = World()
    world.look()
    world.now = 200.0
    world.regions.die(answered=199.9, since=1.0)
    world.hear("nyc1", True, silent=0.1)
    assert world.look() == (Cause.NONE_KNOWN, None), "nyc1 may not have noticed yet"
    world.now = 203.0
    world.regions.die(answered=202.9, since=1.0)
    world.hear("nyc1", True, silent=0.1)
    assert world.look() == (Cause.MY_NODE, False)
    world.evidence = world.another(world.evidence)
    assert world.look() == (Cause.MY_NODE, False), "another configuration knows it still"


def test_a_node_that_hears_nothing_at_all_is_cut_off() -> None:
    world = World()
    world.look()
    world.now = 110.0
    world.regions.die(answered=101.0, since=104.0)
    assert world.look() == (Cause.MY_TUNNEL, False)
    assert "nothing comes through the mesh" in world.evidence.findings["web"].text


@pytest.mark.parametrize(("names", "cause"), [(["fra"], "region"), (["fra", "x"], "my-tunnel")])
def test_stale_handshakes_of_all_peers_are_this_nodes_fault(names: list[str], cause: str) -> None:
    world = World(edges=False)
    fresh = PeerStatus("x", 3.0, 0, 0, None, keepalive=True)
    world.seen = tuple(stale(name) if name in names else fresh for name in ("fra", "x"))
    world.now = 110.0
    world.regions.die(answered=101.0, since=104.0)
    assert world.look() == (Cause(cause), False)


def test_what_is_told_is_what_is_seen() -> None:
    world = World()
    world.regions.table = SimpleNamespace(revision=7)
    world.look()
    telling = world.evidence._telling()
    assert telling.table == 7
    assert telling.services == {"web": world.regions.now}


def test_services_that_change_at_once_are_looked_at_once() -> None:
    world = World()
    world.look()
    world.regions.die(100.0, 101.0)
    looks = world.regions.looks
    for _ in range(20):
        world.evidence.heed("web", False)
    assert world.evidence.reachable("web") is False
    assert world.regions.looks == looks + 1
