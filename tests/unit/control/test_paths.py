"""Control's look at the paths: what it is told, what it tells, and what a reload keeps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import Any, cast

import pytest

from edgenode.config import Config
from edgenode.config.schema import Mesh
from edgenode.config.values import Address
from edgenode.control import paths
from edgenode.control.mesh import MeshKeeper
from edgenode.control.paths import PathKeeper
from edgenode.mesh import PeerStatus
from edgenode.paths.echo import EchoError
from edgenode.regions import Regions
from edgenode.steering.table import Bind
from tests.unit.mesh.worlds import public_key
from tests.unit.regions.worlds import config

BIND = Bind("wg0", "198.51.100.193", "2001:db8:ffff:1::1")
V4, V6 = ip_address("198.51.100.201"), ip_address("2001:db8:ffff:f1::1")


def configuration(mtu: int = 1420, **settings: Any) -> Config:
    quick = {"interval": "20ms", "full_interval": "20ms", "timeout": "10ms"}
    fra = {"name": "fra", "public_key": public_key(1), "allowed": [f"{V4}/32", f"{V6}/128"]}
    mesh = {
        "addresses": [BIND.ipv4, BIND.ipv6],
        "mtu": mtu,
        "paths": {**quick, **settings},
        "peers": [fra],
    }
    return config().model_copy(update={"mesh": Mesh.model_validate(mesh)})


class FakeMesh:
    def __init__(self) -> None:
        self.peers: tuple[PeerStatus, ...] = ()
        self.sizes: list[Mapping[str, int | None]] = []

    @property
    def seen(self) -> tuple[PeerStatus, ...]:
        return self.peers

    def size(self, mtus: Mapping[str, int | None]) -> None:
        self.sizes.append(dict(mtus))

    def path_problem(self, address: Address) -> str | None:
        return None


class FakeEchoes:
    """All that are not too large are answered at once."""

    limit = 9000
    refusal: EchoError | None = None
    unreachable: tuple[Address, ...] = ()

    def __init__(self, bind: Bind, on_answer: Callable[[int, float], None]) -> None:
        if self.refusal:
            raise self.refusal
        self._on_answer = on_answer
        self._number = 0

    def send(self, address: Address, size: int) -> int:
        if address in self.unreachable:
            raise EchoError(f"cannot send an echo of {size} bytes to {address}: no route")
        self._number += 1
        if size <= self.limit:
            asyncio.get_running_loop().call_soon(self._on_answer, self._number, 0.01)
        return self._number

    def drain(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "Echoes", FakeEchoes)
    monkeypatch.setattr(paths, "LOOK", 0.02)
    monkeypatch.setattr(paths, "REOPEN", 0.01)
    monkeypatch.setattr(paths, "LEAST", 0.001)
    monkeypatch.setattr("edgenode.paths.path.AGAIN", 0.005)
    monkeypatch.setattr(FakeEchoes, "limit", 9000)
    monkeypatch.setattr(FakeEchoes, "refusal", None)
    monkeypatch.setattr(FakeEchoes, "unreachable", ())


class World:
    def __init__(self, taken: Config, before: World | None = None) -> None:
        self.mesh = FakeMesh()
        self.notes: list[str] = []
        self.changes = 0
        self.workers: dict[Address, float | None] = {}
        self.asked: list[Address] = []
        self.keeper: PathKeeper = PathKeeper(
            taken,
            cast(MeshKeeper, self.mesh),
            lambda: cast(Regions, self),
            lambda kind, subject, text: self.notes.append(f"{kind} {subject}: {text}"),
            before.keeper if before else None,
        )

    def look(self) -> None:
        self.changes += 1

    def reached(self) -> dict[Address, float | None]:
        return self.workers

    def ask(self, addresses: Iterable[Address]) -> None:
        self.asked += addresses

    @property
    def state(self) -> str:
        return str(self.keeper.status()[0]["state"])

    async def run_until(self, wanted: Callable[[], bool]) -> None:
        task = asyncio.create_task(self.keeper.run())
        try:
            async with asyncio.timeout(5):
                while not wanted():
                    assert not task.done()
                    await asyncio.sleep(0.005)
        finally:
            task.cancel()


async def test_a_black_hole_is_told_once_and_the_routes_are_sized(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(configuration())
    await world.run_until(lambda: world.mesh.sizes == [{"fra": None}] and world.state == "good")
    assert world.notes == []
    monkeypatch.setattr(FakeEchoes, "limit", 1200)
    await world.run_until(lambda: world.mesh.sizes[-1] == {"fra": 1200})
    await world.run_until(lambda: len(world.notes) == 1)
    assert "larger than 1200 bytes vanish" in world.notes[0]
    assert world.changes
    assert world.keeper.problem(V4) is None
    assert "IPv6 needs 1280" in str(world.keeper.problem(V6))
    assert world.keeper.problem(ip_address("192.0.2.1")) is None


async def test_a_reload_keeps_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    first = World(configuration())
    await first.run_until(lambda: first.state == "good" and bool(first.mesh.sizes))
    monkeypatch.setattr(FakeEchoes, "limit", 1200)
    await first.run_until(lambda: bool(first.notes))
    monkeypatch.setattr(FakeEchoes, "limit", 0)
    second = World(configuration(), first)
    assert second.keeper.status()[0] == first.keeper.status()[0]
    assert second.keeper.problem(V6)
    await second.run_until(lambda: bool(second.mesh.sizes))
    assert second.mesh.sizes == [{"fra": 1200}], "the new keeper of the mesh is told"
    other = World(configuration(mtu=1400), second)
    assert other.state == "unknown", "under another MTU all is looked at anew"


async def test_without_sockets_nothing_is_held_against_anybody() -> None:
    world = World(configuration())
    FakeEchoes.refusal = EchoError("paths are not measured")
    task = asyncio.create_task(world.keeper.run())
    await asyncio.sleep(0.1)
    task.cancel()
    assert world.notes == ["path wg0: paths are not measured"], "said once"
    assert world.mesh.sizes == []
    assert world.keeper.problem(V4) is None
    path = world.keeper.status()[0]
    assert (path["state"], path["reason"]) == ("unknown", "paths are not measured")
    FakeEchoes.refusal = None
    await world.run_until(lambda: world.state == "good")
    assert world.keeper.trouble == ""


async def test_switched_off_the_routes_are_as_the_device() -> None:
    world = World(configuration(enabled=False))
    await asyncio.wait_for(world.keeper.run(), 1)
    assert world.mesh.sizes == [{"fra": None}]
    assert world.keeper.status() == []


async def test_workers_are_asked_before_a_silent_host_is_held_against_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A host that begins to filter echoes, and workers that are probed seldom."""
    world = World(configuration())
    world.workers = {V4: time.monotonic()}
    await world.run_until(lambda: world.state == "good")
    monkeypatch.setattr(FakeEchoes, "limit", 0)
    await world.run_until(lambda: world.state == "lossy")
    assert world.asked == [V4]
    assert world.keeper.problem(V4) is None
    world.workers = {V4: time.monotonic()}
    await world.run_until(lambda: world.state == "echo-filtered")
    assert not any("dead" in note for note in world.notes)
    world.workers = {V4: None}
    await world.run_until(lambda: world.state == "dead")
    assert world.keeper.problem(V4)


async def test_a_pause_of_our_own_makes_nothing_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """Afterwards what is really dead is found."""
    monkeypatch.setattr(paths, "PAUSE", 0.1)
    world = World(configuration())
    world.workers = {V4: time.monotonic()}
    await world.run_until(lambda: world.state == "good")
    monkeypatch.setattr(FakeEchoes, "limit", 0)
    await world.run_until(lambda: world.state == "lossy")
    task = asyncio.create_task(world.keeper.run())
    await asyncio.sleep(0.05)
    time.sleep(world.keeper._probe + 0.3)  # noqa: ASYNC251
    world.asked.clear()
    await asyncio.sleep(0.1)
    task.cancel()
    assert world.asked == [V4], "workers are asked once more"
    assert world.keeper.problem(V4) is None
    world.workers = {V4: None}
    await world.run_until(lambda: world.state == "dead")


async def test_a_reload_makes_nothing_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in doubt is looked at anew: the probes begin anew, too."""
    monkeypatch.setattr(paths, "LOOK", 0.2)
    world = World(configuration())
    world.workers = {V4: time.monotonic()}
    await world.run_until(lambda: world.state == "good")
    monkeypatch.setattr(FakeEchoes, "limit", 0)
    await world.run_until(lambda: world.state == "lossy")
    second = World(configuration(), world)
    second.workers = {V4: None}
    task = asyncio.create_task(second.keeper.run())
    await asyncio.sleep(0.3)
    task.cancel()
    assert second.keeper.problem(V4) is None
    await second.run_until(lambda: second.state == "dead")


async def test_what_this_node_cannot_send_is_held_against_no_path() -> None:
    world = World(configuration())
    await world.run_until(lambda: world.state == "good")
    FakeEchoes.unreachable = (V4,)
    task = asyncio.create_task(world.keeper.run())
    await asyncio.sleep(0.3)
    task.cancel()
    assert world.state == "good"
    assert world.keeper.status()[0]["loss"] == 0.0, "the other family's echoes count alone"
    assert world.notes == []
    FakeEchoes.unreachable = (V4, V6)
    await world.run_until(lambda: world.state == "unknown")
    task = asyncio.create_task(world.keeper.run())
    await asyncio.sleep(0.3)
    task.cancel()
    assert world.keeper.problem(V6) is None
    assert len(world.notes) == 1, "said once"
    assert "no route" in world.notes[0]
    FakeEchoes.unreachable = ()
    await world.run_until(lambda: world.state == "good")
