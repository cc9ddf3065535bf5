"""A tripwire's sockets: carries out what `tripwire.Tripwire` decides.

The way from a proxy's death to `on_down` is one callback of the event loop: the held socket turns
readable, and a local address answers the confirming connect within the same call. On this way
nothing is done that can be done behind it: sockets are closed when `on_down` has returned.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable

from edgenode.health import sockets
from edgenode.health.tripwire import LONGEST_PAUSE, Connect, Down, Pause, Step, Tripwire

_log = logging.getLogger(__name__)


class Wire:
    """A tripwire to `target`, in the running loop.

    `timeout`: seconds for a confirming connect that is not answered at once.
    `on_down` is called with the reason when the target is proved to be down; the wire is disarmed
    then, and holds nothing any more when it returns. It must not arm the wire.
    """

    def __init__(
        self,
        target: sockets.Target,
        restart_grace: float,
        timeout: float,
        on_down: Callable[[str], None],
    ) -> None:
        self._target = target
        self._timeout = timeout
        self._on_down = on_down
        self._logic = Tripwire(restart_grace)
        self._held: list[socket.socket] = []
        self._trying: socket.socket | None = None
        self._waiting = False
        """Whether the loop watches `_trying`."""
        self._timer: asyncio.TimerHandle | None = None
        self._armed = False
        self.fired = 0
        """How often a held connection ended."""

    @property
    def waits_out_restart(self) -> bool:
        """Whether `restart_grace` is running: the wire itself watches for the proxy's return."""
        return self._armed and self._logic.waits_out_restart

    def arm(self) -> None:
        """Hold a connection from now on. May call `on_down` at once."""
        self.disarm()
        self._armed = True
        self._guarded(self._logic.arm)

    def disarm(self) -> None:
        """Close everything. Harmless where nothing is open."""
        self._armed = False
        self._stop_timer()
        self._drop_trying()
        self._drop_held()

    def _guarded(self, event: Callable[[], Step]) -> None:
        """Follow an event's steps. An error of ours must not end the watch: try again later."""
        try:
            self._follow(event())
        except Exception:
            _log.exception(
                "tripwire to %s: error, armed again in %g s", self._target, LONGEST_PAUSE
            )
            if self._armed:
                self._pause(LONGEST_PAUSE)

    def _follow(self, step: Step) -> None:
        while isinstance(step, Connect):
            following = self._connect()
            if following is None:
                return  # the kernel will tell: _on_writable, or the time-out
            step = following
        if isinstance(step, Pause):
            self._pause(step.seconds)
        elif isinstance(step, Down):
            try:
                self._on_down(step.reason)
            finally:
                self.disarm()

    def _pause(self, seconds: float) -> None:
        self._stop_timer()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._guarded, Connect)

    # Connecting

    def _connect(self) -> Step | None:
        self._stop_timer()
        self._drop_trying()
        try:
            self._trying = sockets.open_stream(self._target)
            result = sockets.connect_now(self._trying, self._target)
        except OSError:
            self._drop_trying()
            return self._logic.undecided()
        if result is not None:
            return self._result(result)
        loop = asyncio.get_running_loop()
        # By number, here and below: for a socket's own name, which is formed even where it is not
        # needed, asyncio asks the kernel four times.
        loop.add_writer(self._trying.fileno(), self._on_writable)
        self._waiting = True
        self._timer = loop.call_later(self._timeout, self._guarded, self._on_timeout)
        return None

    def _on_writable(self) -> None:
        assert self._trying is not None
        result = sockets.connect_now(self._trying, self._target)
        if result is not None:
            self._stop_timer()
            self._guarded(lambda: self._result(result))

    def _on_timeout(self) -> Step:
        self._drop_trying()
        return self._logic.undecided()

    def _result(self, error: int) -> Step:
        now = time.monotonic()
        if error == 0:
            self._hold()
            return self._logic.connected(now)
        if error not in sockets.NOBODY_LISTENS:
            self._drop_trying()
            return self._logic.undecided()
        step = self._logic.refused(now, sockets.explain(self._target, error))
        if not isinstance(step, Down):
            self._drop_trying()
            # Connections that still stand serve nobody new: their proxy has stopped listening.
            self._drop_held()
        return step

    # Holding

    def _hold(self) -> None:
        """The new connection is the tripwire, with its predecessor until the next renewal.

        A listener with TCP_DEFER_ACCEPT (tcp(7)) keeps an idle connection as a mere request for
        its first second, and these die without a word: a new connection may still be deaf.
        """
        assert self._trying is not None
        self._stop_waiting()
        sock, self._trying = self._trying, None
        self._drop_held(keep=1)
        self._held.append(sock)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._on_readable, sock)

    def _on_readable(self, sock: socket.socket) -> None:
        try:
            # Some servers speak first, or say why they close ("408 Request Time-out").
            if os.read(sock.fileno(), 4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # RST
        self._held.remove(sock)
        self.fired += 1
        if self._trying is None:
            self._guarded(lambda: self._logic.ended(time.monotonic()))
        self._close(sock)

    def _drop_held(self, keep: int = 0) -> None:
        while len(self._held) > keep:
            self._close(self._held.pop(0))

    def _drop_trying(self) -> None:
        self._stop_waiting()
        if self._trying is not None:
            self._trying.close()
            self._trying = None

    def _stop_waiting(self) -> None:
        if self._trying is not None and self._waiting:
            asyncio.get_running_loop().remove_writer(self._trying.fileno())
        self._waiting = False

    @staticmethod
    def _close(sock: socket.socket) -> None:
        """One that was held."""
        asyncio.get_running_loop().remove_reader(sock.fileno())
        sock.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
