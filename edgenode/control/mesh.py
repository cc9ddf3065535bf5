"""Keeps the mesh in line, in a thread: a netlink call that hangs holds up nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

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
        self._device = config.mesh.device if config.mesh else ""
        self._note = note
        self._threads: ThreadPoolExecutor = (
            before._threads if before else ThreadPoolExecutor(THREADS, "mesh")
        )
        self.peers: tuple[PeerStatus, ...] = before.peers if before else ()
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
                    self.peers = seen.peers
                self.problem = ""
            except (MeshError, TimeoutError) as error:
                self._complain(str(error) or f"no answer within {PATIENCE:g} s")
                ensured = -ENSURE
            await asyncio.sleep(RETRY if self.problem else OBSERVE)

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
