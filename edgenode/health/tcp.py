"""TCP probe: does the target accept a connection?"""

from __future__ import annotations

from edgenode.config import Endpoint
from edgenode.health import sockets
from edgenode.health.observation import Observation, Success, observe


class TcpProbe:
    """Connects, and closes at once with RST (see `sockets.open_stream`). `timeout` in seconds.

    It finds a proxy that is dead, and not one that hangs: the kernel completes handshakes for the
    listening socket, whether its process runs or not, until the accept queue is full. An HTTP
    probe finds both.
    """

    def __init__(self, target: Endpoint, timeout: float) -> None:
        self._target = target
        self._timeout = timeout

    async def __call__(self) -> Observation:
        """Probe once. Raises OSError where this process is at fault."""
        return await observe(self._attempt(), self._timeout, f"connection to {self._target}")

    async def _attempt(self) -> Success:
        with sockets.open_stream(self._target) as sock:
            await sockets.connect(sock, self._target)
        return Success(f"{self._target} accepts connections")
