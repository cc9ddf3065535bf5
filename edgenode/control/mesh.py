"""Keeps the mesh in line, in a thread: a netlink call that hangs holds up nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from edgenode.config import Config
from edgenode.config.values import Address, Endpoint
from edgenode.mesh import Mesh, MeshError, PeerStatus
from edgenode.mesh.names import names_of
from edgenode.mesh.owners import Owners
from edgenode.mesh.resolver import Resolver
from edgenode.mesh.told import told
from edgenode.mesh.twins import Twins

OBSERVE = 2.0
"""Seconds between two looks at the peers."""
ROTATION = 0.5
"""Seconds while a peer may change its key: until its addresses follow, what it sends is dropped."""
SHARE = 0.05
"""Of a core, at most, for looking that often: 200 peers are read in 40 ms."""
ENSURE = 30.0
"""Seconds until a mesh that is right is brought in line again."""
RETRY = 1.0
PATIENCE = 10.0
"""Seconds for one operation."""
FIRST = 5.0
"""Seconds that a peer has for its first handshake, before that it has none is a problem."""
THREADS = 2
"""Of its own: calls that hang for ever must not fill those in which intents are stored. One may
hang, and the next one is still made."""

T = TypeVar("T")


class MeshKeeper:
    """`note(kind, subject, text)` is told what changed and what is wrong, once each."""

    def __init__(
        self,
        config: Config,
        note: Callable[[str, str, str], None],
        before: MeshKeeper | None = None,
    ) -> None:
        """`before`: the keeper of the same device under the configuration before."""
        self._mesh: Mesh | None = (
            Mesh(config.mesh, config.private_key_file, before._mesh if before else None)
            if config.mesh
            else None
        )
        self._config = config.mesh
        self._device = config.mesh.device if config.mesh else ""
        peers = config.mesh.peers if config.mesh else ()
        self._owners = Owners(peers)
        self._rotating = frozenset(peer.name for peer in peers if peer.next_public_key)
        self._note = note
        self._resolver = Resolver(names_of(config))
        self._twins: Twins = before._twins if before else Twins()
        self._threads: ThreadPoolExecutor = (
            before._threads if before else ThreadPoolExecutor(THREADS, "mesh")
        )
        self._wake = asyncio.Event()
        """Names stand for something else, or routes want another MTU."""
        self._resize = False
        self.peers: tuple[PeerStatus, ...] = before.peers if before else ()
        self.public_key: str = before.public_key if before else ""
        """The node's own; empty before the first look."""
        self.problem: str = before.problem if before else ""
        self._took = 0.0
        """Seconds for the last look."""
        self._by_name = {peer.name: peer for peer in self.peers}
        self._peer_problems: dict[str, str] = dict(before._peer_problems) if before else {}
        self._waiting: dict[str, float] = dict(before._waiting) if before else {}
        """By the name of a peer without a handshake: since when, on the loop's clock."""
        if before is not None:
            self._resolver.names.take_over(before._resolver.names)
        self._endpoints = self._resolver.names.endpoints

    def size(self, mtus: Mapping[str, int | None]) -> None:
        """The MTU of the routes to each peer, soon; see `Mesh.size`."""
        if self._mesh is not None:
            self._mesh.size(mtus)
            self._resize = True
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        if self._mesh is None:
            return
        loop = asyncio.get_running_loop()
        ensured = -ENSURE
        while True:
            self._wake.clear()
            self._resolver.ask({p.name for p in self.peers if p.stale}, self._on_answer)
            if self._endpoints != (found := self._resolver.names.endpoints):
                self._tell_moved(found)
                ensured = -ENSURE
            if self._resize:
                self._resize = False
                ensured = -ENSURE
            try:
                async with asyncio.timeout(PATIENCE):
                    if loop.time() - ensured >= ENSURE:
                        await self._ensure(self._mesh)
                        ensured = loop.time()
                    began = loop.time()
                    seen = await self._in_thread(self._mesh.observe)
                    self._took = loop.time() - began
                    if not seen.whole:  # as a wireguard-go that was started again
                        await self._ensure(self._mesh)
                        seen = await self._in_thread(self._mesh.observe)
                self.public_key = seen.public_key
                self._take(seen.peers, loop.time())
                twins = self._twins.update(seen.peers, loop.time())
                self._tell({**twins, **self._resolver.names.problems, **seen.problems})
                self._complain(seen.problem)
            except (MeshError, TimeoutError) as error:
                self._complain(str(error) or f"no answer within {PATIENCE:g} s")
                ensured = -ENSURE
            try:
                async with asyncio.timeout(self._interval()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    @property
    def seen(self) -> tuple[PeerStatus, ...]:
        """The peers, where the last look succeeded: an older one is no evidence of anything."""
        return () if self.problem else self.peers

    def path_problem(self, address: Address) -> str | None:
        """Why nothing can be sent to a worker's address, as WireGuard has it.

        None: it can, or nothing is known: a peer that nobody keeps alive, or a device that cannot
        be looked at.
        """
        if self._mesh is None or not self.seen:
            return None
        name = self._owners.of(address)
        if name is None:
            return f"no mesh peer has {address} among its allowed addresses"
        peer = self._by_name.get(name)
        if peer is None or not peer.stale:
            return None
        if peer.handshake_age is not None:
            return f"mesh peer {name}: no handshake for {peer.handshake_age:.0f} s"
        since = self._waiting.get(name)
        now = asyncio.get_running_loop().time()
        return f"mesh peer {name}: never a handshake" if since and now - since > FIRST else None

    def _take(self, peers: tuple[PeerStatus, ...], now: float) -> None:
        self.peers = peers
        self._by_name = {peer.name: peer for peer in peers}
        first = {peer.name for peer in peers if peer.handshake_age is None}
        self._waiting = {name: self._waiting.get(name, now) for name in first}

    def _interval(self) -> float:
        if self.problem:
            return RETRY
        moved = {peer.name for peer in self.peers if peer.next_key}
        if self._rotating <= moved:
            return OBSERVE
        return min(OBSERVE, max(ROTATION, self._took / SHARE))

    def _on_answer(self) -> None:
        if self._endpoints != self._resolver.names.endpoints:
            self._wake.set()

    def status(self) -> dict[str, Any]:
        """The mesh as it was seen last, as JSON values."""
        config = self._config
        edges = {peer.name for peer in config.peers if peer.edge} if config else set()
        return {
            "device": config.device if config else None,
            "addresses": [str(address) for address in config.addresses] if config else [],
            "listen_port": config.listen_port if config else None,
            "mtu": config.mtu if config else None,
            "public_key": self.public_key or None,
            "problem": self.problem,
            "peers": [
                {
                    "name": peer.name,
                    "edge": peer.name in edges,
                    "handshake_age": peer.handshake_age,
                    "stale": peer.stale,
                    "rx": peer.rx,
                    "tx": peer.tx,
                    "endpoint": peer.endpoint,
                    "next_key": peer.next_key,
                    "problem": self._peer_problems.get(peer.name, ""),
                }
                for peer in self.peers
            ],
        }

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _ensure(self, mesh: Mesh) -> None:
        changes = await self._in_thread(partial(mesh.ensure, self._endpoints))
        if changes:
            peers = self._config.peers if self._config else ()
            self._note("mesh", self._device, told(changes, peers))

    def _tell(self, problems: dict[str, str]) -> None:
        """Once each, and when it is over."""
        for peer, problem in problems.items():
            if self._peer_problems.get(peer) != problem:
                self._note("mesh", peer, problem)
        for peer in self._peer_problems.keys() - problems.keys():
            self._note("mesh", peer, "that is mended")
        self._peer_problems = problems

    def _tell_moved(self, now: dict[str, Endpoint]) -> None:
        for peer, endpoint in now.items():
            before = self._endpoints.get(peer)
            if before != endpoint:
                was = f", and not for {before} any more" if before else ""
                self._note("mesh", peer, f"its endpoint's name stands for {endpoint}{was}")
        self._endpoints = now

    def _complain(self, problem: str) -> None:
        if problem and problem != self.problem:
            self._note("mesh", self._device, problem)
        self.problem = problem
