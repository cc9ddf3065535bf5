"""TLS probe: does the target shake hands, with a certificate that we accept?"""

from __future__ import annotations

import socket
import time

from edgenode.config import TlsCheck, certificates
from edgenode.health import sockets
from edgenode.health.observation import Observation, ProbeFailedError, Success, observe
from edgenode.health.streams import drain, part
from edgenode.health.tls import SILENCE, TlsClient, TlsStream


class TlsProbe:
    """A handshake, and the end: no bytes of an application."""

    def __init__(self, check: TlsCheck) -> None:
        self._target = check.target
        self._timeout = check.timeout
        self._what = f"TLS with {check.target}"
        self._client = TlsClient(check, certificates.server_name(check))

    async def __call__(self) -> Observation:
        """Probe once. Raises OSError where this process is at fault."""
        with sockets.open_stream(self._target) as sock:
            stream = TlsStream(sock, self._what)
            observation = await observe(self._attempt(sock, stream), self._timeout, self._what)
            if observation.ok:
                await part(drain(stream), self._timeout - observation.duration)
            return observation

    async def _attempt(self, sock: socket.socket, stream: TlsStream) -> Success:
        started = time.monotonic()
        await sockets.connect(sock, self._target)
        try:
            certificate = await stream.handshake(self._client)
            # What it takes so far are two round trips; its answer to our certificate takes one.
            took = time.monotonic() - started
            await stream.accepted(min(max(SILENCE, 2 * took), (self._timeout - took) / 2))
            await stream.say_goodbye()
        except OSError as error:
            if error.errno in sockets.OWN_FAULT or error.errno is None:
                raise
            raise ProbeFailedError(f"{self._what}: {error.strerror}", timed=True) from None
        return self._client.success(f"{self._what}: {stream.version}", certificate)
