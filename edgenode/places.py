"""Where the processes of a node keep their sockets and files, below `run_dir` and `state_dir`.

Each process has a directory of its own in either, so that each may run as a user of its own: a
process reaches another's socket (mode 0660) only as a member of that one's group.

Standard library only: the lifeline reads it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIRMED = "confirmed.toml"


def control_socket(run_dir: Path) -> Path:
    """The admin API."""
    return run_dir / "control" / "control.sock"


def control_lock(run_dir: Path) -> Path:
    """Held by the one control of a node."""
    return run_dir / "control" / "control.lock"


def lifeline_socket(run_dir: Path) -> Path:
    """Where control's heart is heard."""
    return run_dir / "lifeline" / "lifeline.sock"


def steering_socket(run_dir: Path) -> Path:
    """Where steering takes its tables."""
    return run_dir / "steering" / "steering.sock"


def steering_handover(run_dir: Path) -> Path:
    """Where a new steering asks the one that runs for its connections."""
    return run_dir / "steering" / "handover.sock"


def exec_socket(run_dir: Path) -> Path:
    """Where exec checks are asked for."""
    return run_dir / "exec" / "exec.sock"


def control_state(state_dir: Path) -> Path:
    """A directory: intents, history, the WireGuard key."""
    return state_dir / "control"


def confirmed_text(state_dir: Path) -> Path:
    """The text of the configuration that was confirmed last."""
    return control_state(state_dir) / CONFIRMED


def steering_table(state_dir: Path) -> Path:
    """Steering's last table."""
    return state_dir / "steering" / "steering-table.json"


def exec_state(state_dir: Path) -> Path:
    """A directory: the texts of the configuration that exec-runner has read."""
    return state_dir / "exec"


class InUse(OSError):
    """Another process answers on the socket."""


def listen(path: Path, backlog: int) -> socket.socket:
    """A non-blocking SOCK_SEQPACKET listener in the process's directory, over a stale one.

    Raises InUse where another process is there, OSError where it cannot be made.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
                other.setblocking(False)
                # Also EAGAIN: its queue is full, so it hangs, and is alive all the same.
                if other.connect_ex(os.fspath(path)) != errno.ECONNREFUSED:
                    raise InUse(errno.EADDRINUSE, f"{path} is in use")
            path.unlink()
        bind(listener, path)
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def bind(listener: socket.socket, path: Path) -> None:
    """Bind a Unix socket that its user and group may connect to. Raises OSError.

    The mode holds from the first moment (umask, not chmod). Call it while no other thread makes
    files: the umask is the process's.
    """
    with _umask(0o117):
        listener.bind(os.fspath(path))


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
