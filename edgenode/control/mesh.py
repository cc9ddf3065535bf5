"""Keeps the mesh in line, in a thread: a netlink call that hangs holds up nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from edgenode.config import Config
from edgenode.mesh import Mesh, MeshError, PeerStatus

OBSERVE = 2.0
"""Seconds between two looks at the peers."""
ENSURE = 30.0
"""Seconds until a mesh that is right is brought in line again."""
RETRY = 1.0
PATIENCE = 10.0
"""Seconds for one operation."""
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
        self._mesh = Mesh(config.mesh, config.private_key_file) if config.mesh else None
        self._config = config.mesh
        self._device = config.mesh.device if config.mesh else ""
        self._note = note
        self._threads: ThreadPoolExecutor = (
            before._threads if before else ThreadPoolExecutor(THREADS, "mesh")
        )
        self.peers: tuple[PeerStatus, ...] = before.peers if before else ()
        self.public_key: str = before.public_key if before else ""
        """The node's own; empty before the first look."""
        self.problem: str = before.problem if before else ""

    async def run(self) -> None:
        """Until cancelled."""
        if self._mesh is None:
            return
        loop = asyncio.get_running_loop()
        ensured = -ENSURE
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    if loop.time() - ensured >= ENSURE:
                        await self._ensure(self._mesh)
                        ensured = loop.time()
                    seen = await self._in_thread(self._mesh.observe)
                    if not seen.whole:  # as a wireguard-go that was started again
                        await self._ensure(self._mesh)
                        seen = await self._in_thread(self._mesh.observe)
                    self.peers, self.public_key = seen.peers, seen.public_key
                self.problem = ""
            except (MeshError, TimeoutError) as error:
                self._complain(str(error) or f"no answer within {PATIENCE:g} s")
                ensured = -ENSURE
            await asyncio.sleep(RETRY if self.problem else OBSERVE)

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
                }
                for peer in self.peers
            ],
        }

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _ensure(self, mesh: Mesh) -> None:
        changes = await self._in_thread(mesh.ensure)
        if changes:
            self._note("mesh", self._device, f"{len(changes)} changes made")

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            self._note("mesh", self._device, problem)
        self.problem = problem
