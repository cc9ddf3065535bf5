"""Where a new version meets the old one: a Unix socket, and who is at its other end."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

from edgenode import places

_CREDENTIALS = struct.Struct("3i")  # struct ucred: process, user, group; see unix(7)


def listen(path: Path) -> socket.socket:
    """Open the socket, over a stale one: who calls it is the only steering. Raises OSError."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        os.fchmod(listener.fileno(), 0o600)  # what is bound has this mode
        places.bind(listener, path)
        listener.listen(4)
    except OSError:
        listener.close()
        raise
    return listener


def peer(connection: socket.socket) -> tuple[int, int]:
    """The process and the user at the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _group = _CREDENTIALS.unpack(credentials)
    return pid, user
