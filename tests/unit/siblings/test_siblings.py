"""Edges that speak to each other over real sockets, on the loopback device in place of a mesh."""

from __future__ import annotations

import asyncio
import socket
import tomllib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import pytest

from edgenode.config import Config
from edgenode.regions.evidence import RegionStands, ServiceStands
from edgenode.siblings import link
from edgenode.siblings import siblings as module
from edgenode.siblings.message import MAX_DATAGRAM, Identity, Telling, encode
from edgenode.siblings.siblings import Siblings
from tests.unit.siblings.told import WEB

ADDRESSES = {"lon1": "127.0.83.1", "nyc1": "127.0.83.2", "sin1": "127.0.83.3"}
DEAD = ServiceStands(False, 0.0, 0.0, (RegionStands("fra", up=0, down=2),))

TOML = """
[node]
name = "{name}"
[bgp]
asn = 64700
router_id = "198.51.100.1"
[[bgp.neighbors]]
name = "t"
address = "198.51.100.3"
asn = 64601
[[groups]]
name = "web"
prefixes = ["203.0.113.0/24"]
addresses = ["203.0.113.1"]
[[services]]
name = "web"
group = "web"
listen = ["203.0.113.1:80"]
port = 8080
[[regions]]
name = "fra"
[[regions.workers]]
name = "fra-1"
addresses = ["198.51.100.201"]
[mesh]
device = "wg0"
addresses = ["{address}"]
[[mesh.peers]]
name = "fra"
public_key = "ZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY="
allowed = ["198.51.100.200/29"]
"""
EDGE = """
[[mesh.peers]]
name = "{name}"
public_key = "{key}"
allowed = ["{address}/32"]
edge = true
"""
TIMES = """
[siblings]
port = {port}
interval = "200ms"
stale_after = "1s"
"""


def configuration(name: str, port: int) -> Config:
    text = TOML.format(name=name, address=ADDRESSES[name])
    for number, (other, address) in enumerate(ADDRESSES.items(), start=1):
        if other != name:
            key = b64encode(bytes([number] * 32)).decode()
            text += EDGE.format(name=other, address=address, key=key)
    # Its rules would refuse a mesh on loopback addresses.
    config = Config.model_validate(tomllib.loads(text + TIMES.format(port=port)))
    assert config.mesh
    return config.model_copy(update={"mesh": config.mesh.model_copy(update={"device": "lo"})})


@dataclass
class Node:
    name: str
    port: int
    telling: Telling = field(default_factory=lambda: Telling({"web": WEB}))
    notes: list[str] = field(default_factory=list)
    news: int = 0
    before: Siblings | None = None

    def __post_init__(self) -> None:
        def news() -> None:
            self.news += 1

        self.siblings = Siblings(
            configuration(self.name, self.port),
            lambda: self.telling,
            lambda: "",
            lambda kind, subject, text: self.notes.append(f"{kind} {subject}: {text}"),
            news,
            before=self.before,
        )

    def hears(self, sibling: str) -> bool:
        now = self.siblings._clock()
        return sibling in {view.sibling for view in self.siblings.views.fresh(now)}


@asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(node.siblings.run()) for node in nodes]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((ADDRESSES["lon1"], 0))
        found: int = free.getsockname()[1]
        return found


@contextmanager
def speaker(name: str, port: int) -> Iterator[Callable[[bytes], None]]:
    """Sends to lon1 as another edge does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((ADDRESSES[name], port))

        def say(datagram: bytes) -> None:
            sock.sendto(datagram, (ADDRESSES["lon1"], port))

        yield say


async def test_edges_hear_what_the_others_reach(port: int) -> None:
    lon, nyc = Node("lon1", port), Node("nyc1", port, Telling({"web": DEAD}))
    async with running(lon, nyc):
        await eventually(lambda: lon.hears("nyc1") and nyc.hears("lon1"))
        now = lon.siblings._clock()
        (said,) = lon.siblings.views.statements("web", now)
        assert (said.sibling, said.reachable) == ("nyc1", False)
        assert not lon.hears("sin1")
        await eventually(lambda: lon.news)
        (shown, silent) = lon.siblings.status(now)["edges"]
        assert (shown["name"], shown["fresh"], shown["node"]) == ("nyc1", True, "nyc1")
        assert shown["services"]["web"]["regions"] == {"fra": {"up": 0, "down": 2}}
        assert (silent["fresh"], silent["heard_s_ago"]) == (False, None)
    assert "sibling nyc1: is heard" in lon.notes


async def test_a_change_is_told_at_once(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lon, nyc = Node("lon1", port), Node("nyc1", port)
    slow = nyc.siblings._config.siblings.model_copy(update={"interval": 60.0})
    monkeypatch.setattr(
        nyc.siblings, "_config", nyc.siblings._config.model_copy(update={"siblings": slow})
    )
    async with running(lon, nyc):
        await eventually(lambda: lon.hears("nyc1"))
        nyc.telling = Telling({"web": DEAD})
        nyc.siblings.tell_soon()
        await eventually(
            lambda: [s.reachable for s in lon.siblings.views.statements("web", 0.0)] == [False]
        )


async def test_a_sibling_that_falls_silent_counts_no_more(port: int) -> None:
    lon = Node("lon1", port)
    async with running(lon):
        async with running(Node("nyc1", port)):
            await eventually(lambda: lon.hears("nyc1"))
        await eventually(lambda: not lon.hears("nyc1"))
        await eventually(lambda: "sibling nyc1: is not heard any more" in " ".join(lon.notes))


async def test_nonsense_is_told_once_and_a_flood_of_it_keeps_nobody_else_silent(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "MOST_A_ROUND", 20)
    lon, sin = Node("lon1", port), Node("sin1", port)
    async with running(lon, sin):
        await eventually(lambda: lon.hears("sin1"))
        before = lon.siblings._number
        with speaker("nyc1", port) as say:
            for _ in range(200):
                for datagram in (b"", b"\xff", b"[" * MAX_DATAGRAM, b"x" * 2000):
                    say(datagram)
                await asyncio.sleep(0.002)
        rounds = lon.siblings._number - before
        assert lon.hears("sin1")
    assert len([note for note in lon.notes if "refused" in note]) == 1
    assert not lon.hears("nyc1")
    refused = lon.siblings.status(0.0)["edges"][0]["refused"]
    assert 0 < refused <= 20 * (rounds + 1) < 800  # what is more is not even looked at


async def test_a_stranger_is_not_heard(port: int) -> None:
    lon, nyc = Node("lon1", port), Node("nyc1", port)
    identity = Identity("nyc1", "f" * 16, (ADDRESSES["nyc1"],))
    (datagram,) = encode(identity, Telling({"web": DEAD}), 10**9, 1.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.83.9", 0))
        async with running(lon, nyc):
            await eventually(lambda: lon.hears("nyc1"))
            for _ in range(20):
                stranger.sendto(datagram, (ADDRESSES["lon1"], port))
                await asyncio.sleep(0.01)
            said = lon.siblings.views.statements("web", lon.siblings._clock())
            assert [each.reachable for each in said] == [True]
    assert not [note for note in lon.notes if "refused" in note]


async def test_a_copy_of_this_node_is_named_once(port: int) -> None:
    lon = Node("lon1", port)
    claims = Identity("copy", "c" * 16, (ADDRESSES["lon1"],))
    async with running(lon):
        with speaker("nyc1", port) as say:
            for number in range(1, 20):
                say(encode(claims, Telling({}), number, float(number))[0])
                await asyncio.sleep(0.05)
        text = f"the mesh address {ADDRESSES['lon1']} is this node's, and edge nyc1 (copy) says"
        assert text in lon.siblings.conflicts[0]
        assert len([note for note in lon.notes if text in note]) == 1
        assert lon.siblings.status(0.0)["conflicts"] == list(lon.siblings.conflicts)


async def test_a_conflict_that_comes_during_another_is_told_a_little_later(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUIET", 1.0)
    lon = Node("lon1", port)
    async with running(lon):
        with speaker("nyc1", port) as nyc, speaker("sin1", port) as sin:
            for number in range(1, 40):
                claims = Identity("copy", "c" * 16, (ADDRESSES["lon1"],))
                nyc(encode(claims, Telling({}), number, float(number))[0])
                if number > 10:
                    other = Identity("lon1", "d" * 16, (ADDRESSES["sin1"],))
                    sin(encode(other, Telling({}), number, float(number))[0])
                await asyncio.sleep(0.05)
    told = [note for note in lon.notes if "edge sin1 calls itself lon1" in note]
    assert len(told) == 1


async def test_another_configuration_goes_on_as_the_same_process(port: int) -> None:
    lon, nyc = Node("lon1", port), Node("nyc1", port)
    async with running(nyc):
        async with running(lon):
            await eventually(lambda: lon.hears("nyc1") and nyc.hears("lon1"))
        again = Node("lon1", port, before=lon.siblings)
        assert again.hears("nyc1")
        async with running(again):
            number = again.siblings._number
            await eventually(lambda: again.siblings._number > number + 2)
        assert not any(view.twins(nyc.siblings._clock()) for view in nyc.siblings.views)


async def test_who_was_never_heard_is_missed_with_what_to_do(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNHEARD", 0.3)
    lon = Node("lon1", port)
    async with running(lon):
        await eventually(lambda: len(lon.notes) == 2)
        await asyncio.sleep(0.5)
    assert len(lon.notes) == 2
    assert "a mesh peer with edge = true" in lon.siblings.status(0.0)["edges"][0]["problem"]


async def test_who_was_heard_is_never_said_to_be_one_that_was_not(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNHEARD", 0.3)
    lon = Node("lon1", port)
    async with running(lon):
        async with running(Node("nyc1", port)):
            await eventually(lambda: lon.hears("nyc1"))
        await eventually(lambda: "sibling nyc1: is not heard any more" in " ".join(lon.notes))
    again = Node("lon1", port, before=lon.siblings)
    async with running(again):
        await asyncio.sleep(0.5)
    assert not [n for n in lon.notes + again.notes if n.startswith("sibling nyc1: was never")]
    assert again.siblings.status(0.0)["edges"][0]["problem"] == ""


async def test_without_a_device_it_is_said_and_tried_again(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lon = Node("lon1", port)
    mesh = lon.siblings._config.mesh
    assert mesh
    away = mesh.model_copy(update={"device": "edgenode-none"})
    config = lon.siblings._config
    monkeypatch.setattr(lon.siblings, "_config", config.model_copy(update={"mesh": away}))
    async with running(lon):
        await eventually(lambda: lon.siblings._links)
        problem = lon.siblings.status(0.0)["edges"][0]["problem"]
        assert problem == "nothing can be sent to it: the device edgenode-none is not there"


async def test_news_are_acted_on_also_after_a_fault(port: int) -> None:
    lon, nyc = Node("lon1", port), Node("nyc1", port)
    async with running(nyc):
        async with running(lon):
            await eventually(lambda: lon.siblings._news is not None)  # and it ends just then
        async with running(lon):
            nyc.telling = Telling({"web": DEAD})
            await eventually(lambda: lon.news)
