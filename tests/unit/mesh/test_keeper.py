"""Control's keeper of the mesh: what it mends, what it tells, what it knows of the ways."""

import asyncio
import threading
from collections.abc import Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from edgenode.config import Config
from edgenode.config.values import Address, Endpoint, NamedEndpoint
from edgenode.control import mesh as keeping
from edgenode.mesh import Observed, PeerStatus, resolver
from edgenode.mesh.state import Change, SetUp
from tests.unit.mesh.worlds import public_key
from tests.unit.regions import worlds

FRA = PeerStatus("fra", 5.0, 1, 1, "192.0.2.10:51820", keepalive=True)


def config(**fields: Any) -> Config:
    peer = {"name": "fra", "public_key": public_key(1), "allowed": ["198.51.100.200/29"], **fields}
    return worlds.config(mesh={"addresses": ["198.51.100.193"], "peers": [peer]})


class Fake:
    """A mesh of which a test says what is seen of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.endpoints: list[dict[str, Endpoint]] = []
        self.seen = Observed((FRA,), True)
        self.free = threading.Event()
        self.free.set()

    def ensure(self, endpoints: Mapping[str, Endpoint]) -> tuple[Change, ...]:
        self.calls.append("ensure")
        self.endpoints.append(dict(endpoints))
        self.free.wait(10)
        self.seen = replace(self.seen, whole=True)
        return (SetUp(),)

    def observe(self) -> Observed:
        self.calls.append("observe")
        self.free.wait(10)
        return self.seen


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(keeping, "Mesh", lambda *_: made)
    monkeypatch.setattr(keeping, "OBSERVE", 0.01)
    monkeypatch.setattr(keeping, "RETRY", 0.01)
    return made


@asynccontextmanager
async def running(keeper: keeping.MeshKeeper) -> Any:
    task = asyncio.create_task(keeper.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Any) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it did not come to that")


async def test_it_is_ensured_as_soon_as_something_is_missing(fake: Fake) -> None:
    notes: list[str] = []
    keeper = keeping.MeshKeeper(config(), lambda *note: notes.append(note[2]))
    async with running(keeper):
        await until(lambda: len(fake.calls) == 4)
        fake.seen = replace(fake.seen, whole=False)
        await until(lambda: fake.calls.count("ensure") == 2)
        again = fake.calls.index("ensure", 1)
        await until(lambda: len(fake.calls) > again + 2)
    assert fake.calls[:4] == ["ensure", "observe", "observe", "observe"]
    assert fake.calls[again + 1 : again + 3] == ["observe", "observe"]
    assert notes == ["1 change made"] * 2


async def test_a_name_is_taken_up_while_netlink_hangs(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is told; an answer that changes is acted upon at once."""
    monkeypatch.setattr(keeping, "PATIENCE", 0.02)
    fake.free.clear()
    notes: list[tuple[str, ...]] = []
    keeper = keeping.MeshKeeper(
        config(endpoint="fra1.example.net:51820"), lambda *note: notes.append(note)
    )
    addresses: list[Address] = [ip_address("192.0.2.10")]
    monkeypatch.setattr(keeper._resolver, "_look_up", lambda name: list(addresses))
    async with running(keeper):
        told = ("mesh", "fra", "its endpoint's name stands for 192.0.2.10:51820")
        await until(lambda: told in notes)
        assert "no answer within" in keeper.problem
        fake.free.set()
        await until(lambda: fake.endpoints[-1] == {"fra": Endpoint(addresses[0], 51820)})
        await until(lambda: not keeper.problem)
        addresses[:] = [ip_address("2001:db8::7")]
        monkeypatch.setattr("edgenode.mesh.names.EVERY", 0.0)
        await until(lambda: fake.endpoints[-1] == {"fra": Endpoint(addresses[0], 51820)})
    assert notes[-2][2].endswith("[2001:db8::7]:51820, and not for 192.0.2.10:51820 any more")


async def test_a_resolver_that_hangs_is_told_and_holds_up_nothing(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "PATIENCE", 0.02)
    go_on = threading.Event()
    asked: list[NamedEndpoint] = []
    notes: list[str] = []
    keeper = keeping.MeshKeeper(
        config(endpoint="fra1.example.net:51820"), lambda *note: notes.append(note[2])
    )

    def hang(name: NamedEndpoint) -> list[Address]:
        asked.append(name)
        go_on.wait(10)
        return [ip_address("192.0.2.10")]

    monkeypatch.setattr(keeper._resolver, "_look_up", hang)
    monkeypatch.setattr("edgenode.mesh.names.SOON", 0.0)
    said = "fra1.example.net cannot be resolved: no answer within 0.02 s"
    async with running(keeper):
        await until(lambda: said in notes)
        looks = len(fake.calls)
        await until(lambda: len(fake.calls) > looks + 3)
        assert len(asked) == 1, "a question that hangs is not asked again"
        go_on.set()
        await until(lambda: "that is mended" in notes)
        await until(lambda: bool(fake.endpoints[-1]))
    assert notes.count(said) == 1


async def test_what_it_knows_of_the_way_to_a_worker(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "FIRST", 0.05)
    keeper = keeping.MeshKeeper(config(), lambda *_: None)
    worker, elsewhere = ip_address("198.51.100.201"), ip_address("192.0.2.77")
    assert keeper.path_problem(worker) is None, "nothing is known yet"
    async with running(keeper):
        await until(lambda: bool(keeper.peers))
        assert keeper.path_problem(worker) is None
        said = f"no mesh peer has {elsewhere} among its allowed addresses"
        assert keeper.path_problem(elsewhere) == said
        fake.seen = Observed((replace(FRA, handshake_age=181.4),), True)
        await until(lambda: keeper.path_problem(worker) is not None)
        assert keeper.path_problem(worker) == "mesh peer fra: no handshake for 181 s"
        fake.seen = Observed((replace(FRA, handshake_age=None),), True)
        await until(lambda: keeper.path_problem(worker) is None)
        await until(lambda: keeper.path_problem(worker) == "mesh peer fra: never a handshake")
        fake.seen = Observed((replace(FRA, handshake_age=None, keepalive=False),), True)
        await until(lambda: keeper.path_problem(worker) is None)


async def test_a_peers_problem_is_told_once_and_when_it_is_over(fake: Fake) -> None:
    notes: list[tuple[str, ...]] = []
    keeper = keeping.MeshKeeper(config(), lambda *note: notes.append(note))
    fake.seen = Observed((FRA,), True, problems={"fra": "its key is damaged"})
    async with running(keeper):
        await until(lambda: fake.calls.count("observe") > 5)
        fake.seen = Observed((FRA,), True)
        await until(lambda: ("mesh", "fra", "that is mended") in notes)
    assert notes.count(("mesh", "fra", "its key is damaged")) == 1


async def test_a_bad_key_file_of_our_own_does_not_hide_the_peers(fake: Fake) -> None:
    notes: list[str] = []
    keeper = keeping.MeshKeeper(config(), lambda *note: notes.append(note[2]))
    async with running(keeper):
        fake.seen = Observed(
            (replace(FRA, handshake_age=190.0),), True, problem="others may read it"
        )
        await until(lambda: keeper.peers[:1] == fake.seen.peers)
        await until(lambda: keeper.problem == "others may read it")
        fake.seen = Observed((FRA,), True)
        await until(lambda: keeper.problem == "")
    assert notes.count("others may read it") == 1
