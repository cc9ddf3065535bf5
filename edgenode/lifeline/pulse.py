"""Control's end of the lifeline's socket."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

_RETRY = 0.2
"""Seconds between tries to connect: a local socket, and each beat missed counts."""


class Pulse:
    """Connects, and connects again when the lifeline was restarted.

    `beat` belongs behind a round of decisions that was on time, and never before BIRD is in order:
    it lets the device be made, and with it all that BIRD has enabled is announced.
    """

    def __init__(
        self, socket_path: Path, *, on_state: Callable[[bool], None] = lambda held: None
    ) -> None:
        """`on_state` is called with whether the device is up, on connect and when it changes."""
        self._path = socket_path
        self.on_state = on_state
        self._socket: socket.socket | None = None
        self._held: bool | None = None
        self._said = asyncio.Event()
        self._problem = ""
        self._asked_at: float | None = None

    @property
    def held(self) -> bool | None:
        """Whether the device is up; None: there is no connection to the lifeline."""
        return self._held

    @property
    def problem(self) -> str:
        """Why there is no connection, as a sentence; empty: there is one."""
        return self._problem

    async def run(self) -> None:
        """Keep connected, for ever; cancelled, it closes the connection."""
        while True:
            try:
                await self._connection()
            except OSError as error:
                self._complain(
                    f"the lifeline cannot be reached on {self._path} "
                    f"({error.strerror or error}): start edgenode lifeline"
                )
            await asyncio.sleep(_RETRY)

    async def wait_state(self) -> bool:
        """Wait until the lifeline has said whether it holds the device."""
        while self._held is None:
            await self._said.wait()
        return self._held

    def beat(self) -> bool:
        """Send a heartbeat without waiting; False: it could not be sent."""
        if self._socket is None:
            return False
        try:
            self._socket.send(b"beat")
        except OSError as error:
            why = error.strerror or error
            self._complain(f"the lifeline does not take a beat ({why}): it hangs, restart it")
            return False
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        return True

    def silent_for(self, now: float) -> float:
        """Seconds for which a beat has had no answer, at `now` (monotonic); 0: none is due.

        A lifeline that is stopped keeps its device, and would not withdraw if control died.
        """
        return 0.0 if self._asked_at is None else max(0.0, now - self._asked_at)

    async def _connection(self) -> None:
        """One connection, from its start to its end. Raises OSError."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as own:
            await loop.sock_connect(own, str(self._path))
            self._socket = own
            try:
                while message := await loop.sock_recv(own, 64):
                    if message in {b"held", b"released"}:
                        self._asked_at = None
                        self._learn(message == b"held")
                self._complain(f"the lifeline closed its socket {self._path}")
            finally:
                self._socket = None
                self._held = None
                self._asked_at = None
                self._said.clear()

    def _learn(self, held: bool) -> None:
        self._problem = ""
        if held is not self._held:
            self._held = held
            self.on_state(held)
        self._said.set()

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("%s", problem)
        self._problem = problem
