"""TCP probe: does the target accept a connection?"""

from __future__ import annotations

import socket
import time

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
        self._accepts = f"{target} accepts connections"

    async def __call__(self) -> Observation:
        """Probe once. Raises OSError where this process is at fault."""
        started = time.monotonic()
        with sockets.open_stream(self._target) as sock:
            error = sockets.connect_now(sock, self._target)
            if error == 0:  # a local target answers at once: nothing to wait for, and no timer
                return Observation(True, self._accepts, time.monotonic() - started)
            what = f"connection to {self._target}"
            return await observe(self._wait(sock, error), self._timeout, what)

    async def _wait(self, sock: socket.socket, error: int | None) -> Success:
        await sockets.connected(sock, self._target, error)
        return Success(self._accepts)
