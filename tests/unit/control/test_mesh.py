"""A netlink that hangs holds up nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from edgenode.config import loads
from edgenode.control import mesh
from edgenode.control.mesh import MeshKeeper
from edgenode.mesh import MeshError, PeerStatus
from edgenode.mesh.mesh import Observed

TOML = """
[node]
name = "lon1"
[bgp]
asn = 64700
router_id = "198.51.100.161"
[[bgp.neighbors]]
name = "transit"
address = "198.51.100.2"
asn = 64601
[[groups]]
name = "web"
prefixes = ["203.0.113.0/24"]
checks = ["web"]
[[checks]]
name = "web"
type = "tcp"
target = "127.0.0.1:1"
"""


async def test_calls_that_hang_fill_no_threads_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mesh, "PATIENCE", 0.005)
    monkeypatch.setattr(mesh, "RETRY", 0.0)
    go_on = threading.Event()
    hung = 0

    class Hanging:
        def ensure(self, *_: object) -> list[str]:
            nonlocal hung
            hung += 1
            go_on.wait(10)
            return []

        observe: Callable[..., object] = ensure

    keeper = MeshKeeper(loads(TOML), lambda *_: None)
    monkeypatch.setattr(keeper, "_mesh", Hanging())
    task = asyncio.create_task(keeper.run())
    try:
        await asyncio.sleep(0.5)  # a hundred tries
        assert "no answer" in keeper.problem
        assert hung == mesh.THREADS
        assert await asyncio.wait_for(asyncio.to_thread(lambda: True), 2)
    finally:
        go_on.set()
        task.cancel()


MESH = """
[mesh]
addresses = ["198.51.100.193"]
[[mesh.peers]]
name = "fra"
public_key = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
allowed = ["10.1.0.0/16"]
"""


async def test_what_was_seen_before_a_netlink_that_hangs_is_held_against_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its session may be back by now: whether a worker answers, its probes say."""
    monkeypatch.setattr(mesh, "OBSERVE", 0.01)
    stale = PeerStatus("fra", 200.0, 0, 0, None, keepalive=True)
    looks = [Observed((stale,), whole=True)]

    class Hangs:
        def ensure(self, *_: object) -> list[str]:
            return []

        def observe(self) -> Observed:
            if not looks:
                raise MeshError("it hangs")
            return looks[0]

    keeper = MeshKeeper(loads(TOML + MESH), lambda *_: None)
    monkeypatch.setattr(keeper, "_mesh", Hangs())
    task = asyncio.create_task(keeper.run())
    worker = ip_address("10.1.1.1")
    async with asyncio.timeout(5):
        while not keeper.path_problem(worker):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        looks.clear()
        while keeper.path_problem(worker):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert keeper.status()["peers"], "it is shown all the same"
    task.cancel()
