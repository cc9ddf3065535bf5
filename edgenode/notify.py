"""What a daemon tells the service manager: ready, alive, ending (sd_notify(3), systemd.service(5)).

Without a service manager (no `$NOTIFY_SOCKET`) all of it does nothing. Standard library only: the
lifeline uses it. The variables are taken out of the environment, so that no child can speak for
its parent.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping


class Notifier:
    """The way to the service manager, as the environment has it."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        usec = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        mine = not pid or pid == str(os.getpid())
        self.interval = int(usec) / 1e6 / 3 if usec.isdigit() and mine and address else None
        """Seconds between signs of life: a third of what the service manager waits; None: it
        does not watch."""
        self._due = 0.0

    def ready(self, status: str = "") -> None:
        """The service serves. `status` is what `systemctl status` shows."""
        self._send("READY=1" + (f"\nSTATUS={status}" if status else ""))

    def heir(self, pid: int) -> None:
        """The service is that process from now on. Said by either (NotifyAccess=all)."""
        self._send(f"MAINPID={pid}")

    def alive(self, now: float) -> None:
        """A sign of life, where one is due. `now`: seconds of the monotonic clock."""
        if self.interval is not None and now >= self._due:
            self._due = now + self.interval
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The service ends because it was told to."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        # Nobody's service is worse for a service manager that is away or slow.
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(text.encode(), self._address)
