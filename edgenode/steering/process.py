"""A relay worker's process, as the supervisor has it.

Times are of the monotonic clock, in seconds.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgenode.steering.channel import Channel
from edgenode.steering.occupancy import Register
from edgenode.steering.rollout import Fault

PROGRAM = ("-m", "edgenode.steering.worker")
"""What the interpreter is to run; its arguments follow."""

_PACKAGES = str(Path(__file__).resolve().parents[2])
"""Where this very edgenode is: it may be on no search path, as in a system extension."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a relay worker's connections are counted."""

    register: Register
    row: int


_OWN = frozenset(
    {
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGTRAP,
    }
)
"""Signals that end a process for what it did itself."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process has ended: for people, and for whoever asks whose fault it is."""

    how: str
    fault: Fault


class Process:
    """A relay worker's process, and our end of its channel. Raises OSError if it cannot start."""

    def __init__(
        self, limit: int, access_log: Path | None, seat: Seat, now: float, *more: int
    ) -> None:
        """`more` are descriptors that it gets as further arguments."""
        ours, theirs = socket.socketpair()
        with theirs:
            log = "-" if access_log is None else str(access_log)
            shared, sources = seat.register.fd, seat.register.sources
            arguments = [theirs.fileno(), os.getpid(), limit, log, shared, seat.row, sources, *more]
            try:
                self._popen = subprocess.Popen(
                    [sys.executable, *PROGRAM, *map(str, arguments)],
                    stdin=subprocess.DEVNULL,
                    cwd="/",  # `-m` looks there first
                    env={**os.environ, "PYTHONPATH": _PACKAGES},
                    pass_fds=(theirs.fileno(), shared, sources, *more),
                )
            except OSError:
                ours.close()
                raise
        self.pid = self._popen.pid
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:
            ours.close()
            self._popen.kill()
            self._popen.wait()
            raise
        self.channel = Channel(ours)
        self.started = now
        self.beat = now
        self.heard = False  # it has spoken
        self.silent = False  # it was killed since it did not
        self.dying = False  # it was killed, or has ended
        self.told = 0  # the number of the last table that it was sent
        self.applied = 0  # the number of the last table that it has applied
        self.confirmed = 0  # and of the last one under which it has answered
        self.takes_deltas = False  # an older one would pass over them in silence
        self.counters: dict[str, Any] = {}
        self.ejections: list[dict[str, Any]] = []
        self.figures: dict[str, Any] = {}

    @property
    def has_ended(self) -> bool:
        """Whether it has, though no event may have told of it yet."""
        return self._popen.poll() is not None

    def kill(self) -> None:
        self.dying = True
        self._popen.kill()

    def reap(self) -> Ended:
        """Free what belongs to the ended process, and tell how it ended."""
        os.close(self.pidfd)
        self.channel.close()
        status = self._popen.wait()
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        if self.silent:
            return Ended("since it did not answer", Fault.HUNG)
        by_itself = status >= 0 or -status in _OWN
        return Ended(how, Fault.CRASHED if by_itself else Fault.OTHERS)


def is_stopped(pid: int) -> bool:
    """Whether a process stands still because somebody stopped or traces it, see proc(5)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] in ("T", "t")
