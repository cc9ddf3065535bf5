"""The process: listens for control's heartbeats and holds the device while they come.

BIRD's static routes point at the device. When this process lets go of it, or ends in whatever way,
the kernel removes the device and BIRD withdraws the routes: nothing has to work for that.
Standard library only, no children, no core dump (writing one keeps the device up meanwhile).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import resource
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

from edgenode import places
from edgenode.lifeline import settings, tun
from edgenode.lifeline.grace import Grace
from edgenode.notify import Notifier

_PR_SET_DUMPABLE = 4


class HoldError(Exception):
    """The process cannot do its work; the text is a sentence for the operator."""


class Holder:
    """The sockets and the device around a `Grace`."""

    def __init__(self, config: settings.Settings, listener: socket.socket) -> None:
        self._config = config
        self._grace = Grace(config.grace, config.heartbeat_timeout)
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._controls: dict[socket.socket, int] = {}
        self._count = 0
        self._device: int | None = None
        self._trouble = ""

    def run(self, wake: int, notifier: Notifier) -> None:
        """Until something can be read from the descriptor `wake`."""
        self._selector.register(wake, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            notifier.alive(now)
            waits = [] if notifier.interval is None else [notifier.interval]
            if self._grace.deadline is not None:
                waits.append(max(0.0, self._grace.deadline - now))
            timeout = min(waits, default=None)
            for key, _ in self._selector.select(timeout):
                if key.fileobj == wake:
                    return
                self._ready(key.fileobj)
            self._grace.tick(time.monotonic())
            self._apply()

    def close(self) -> None:
        """Let go of the device."""
        if self._device is not None:
            self._selector.unregister(self._device)
            os.close(self._device)
            self._device = None

    def _ready(self, source: object) -> None:
        if source is self._listener:
            self._accept()
        elif source == self._device and self._device is not None:
            if not tun.drain(self._device):
                _say(f"device {self._config.device} was removed by someone else")
                self._grace.device_lost()
        elif isinstance(source, socket.socket):
            self._receive(source)
        # What is handled takes effect before the next source is looked at.
        self._apply()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            control, _ = self._listener.accept()
            control.setblocking(False)
            self._count += 1
            self._controls[control] = self._count
            self._selector.register(control, selectors.EVENT_READ)
            self._tell(control)

    def _receive(self, control: socket.socket) -> None:
        try:
            message = control.recv(64)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        now = time.monotonic()
        number = self._controls[control]
        if message == b"beat":
            self._grace.beat(number, now)
            # Each beat has an answer: by it control sees that this process is not stopped.
            if not self._apply():
                self._tell(control)
        elif not message:
            del self._controls[control]
            self._selector.unregister(control)
            control.close()
            self._grace.closed(number, now)

    def _apply(self) -> bool:
        """Make the device what the state says. Whether that was told, to all."""
        if self._grace.held == (self._device is not None):
            return False
        if self._grace.held:
            try:
                self._device = tun.create(self._config.device)
            except tun.TunError as error:
                if str(error) != self._trouble:
                    _say(str(error))
                self._trouble = str(error)
                self._grace.device_lost()
                return False
            self._trouble = ""
            self._selector.register(self._device, selectors.EVENT_READ)
        else:
            self.close()
        _say(f"{self._state()} {self._config.device}")
        for control in self._controls:
            self._tell(control)
        return True

    def _tell(self, control: socket.socket) -> None:
        with contextlib.suppress(OSError):  # a control that does not read finds out when it does
            control.send(self._state().encode())

    def _state(self) -> str:
        return "released" if self._device is None else "held"


def listen(path: Path) -> socket.socket:
    """The listening socket, for this user and group. Raises HoldError."""
    try:
        return places.listen(path, 8)
    except places.InUse:
        raise HoldError(f"{path} is in use: another lifeline is running, stop it first") from None
    except OSError as error:
        raise HoldError(f"the socket {path} cannot be made ({error.strerror or error})") from None


def main(arguments: list[str] | None = None) -> int:
    """Hold until SIGTERM or SIGINT. The exit status."""
    parser = argparse.ArgumentParser(
        prog="edgenode lifeline", description="Hold the device on which all announcements hang."
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=Path(os.environ.get("EDGENODE_CONFIG", "/etc/edgenode/edgenode.toml")),
        metavar="FILE",
    )
    options = parser.parse_args(arguments)
    _no_core_dump()
    notifier = Notifier()
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        config = settings.read(options.config)
        listener = listen(config.socket)
        os.close(tun.create(config.device, up=False))  # see now, not at the first beat
    except settings.SettingsError as error:
        _say(str(error))
        return 2
    except (HoldError, tun.TunError) as error:
        _say(str(error))
        return 1
    holder = Holder(config, listener)
    _say(f"ready on {config.socket}")
    notifier.ready()
    holder.run(wake, notifier)
    notifier.stopping()
    holder.close()
    config.socket.unlink(missing_ok=True)
    return 0


def _no_core_dump() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"lifeline: {text}", file=sys.stderr, flush=True)
