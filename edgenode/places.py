"""Where the processes of a node keep their sockets and files, below `run_dir` and `state_dir`.

Each process has a directory of its own in either, so that each may run as a user of its own: a
process reaches another's socket (mode 0660) only as a member of that one's group.

Standard library only: the lifeline reads it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def exec_socket(run_dir: Path) -> Path:
    """Where exec checks are asked for."""
    return run_dir / "exec" / "exec.sock"


def control_state(state_dir: Path) -> Path:
    """A directory: intents, history, the WireGuard key."""
    return state_dir / "control"


def steering_table(state_dir: Path) -> Path:
    """Steering's last table."""
    return state_dir / "steering" / "steering-table.json"


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
