"""A connection to a worker: its socket, the user's first bytes, and what its end says of it."""

from __future__ import annotations

import errno
import os

from edgenode.steering import sysio
from edgenode.steering.connection import CHUNK, Side
from edgenode.steering.table import Bind, Target
from edgenode.steering.why import Why

EARLY = 3.0
"""Seconds after it was connected in which a reset is the worker's failure."""


def begin(bind: Bind, target: Target) -> int:
    """Begin to connect, bound as the table says; return the descriptor. Raises OSError."""
    ipv6 = ":" in target.address
    source = bind.ipv6 if ipv6 else bind.ipv4
    if bind.device is not None and source is None:
        # It would leave with an address that is not of the mesh.
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    fd = sysio.open_upstream(ipv6, bind.device, source)
    failed = sysio.connect(fd, target.address, target.port)
    if failed not in (0, errno.EINPROGRESS):
        sysio.close(fd)  # no event names it yet
        raise OSError(failed, os.strerror(failed))
    return fd


def read_first(client: Side) -> bool:
    """Add what the user has sent to what is held; False if the user is gone."""
    try:
        data = sysio.read(client.fd, CHUNK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    client.eof = not data
    client.held += data
    return True


def send_first(client: Side, worker: Side) -> int:
    """Send what is held for the worker; return the bytes taken, 0 if it has not answered yet.

    Raises OSError if it has refused.
    """
    if not client.held:
        return 0  # it cannot be told here whether the worker has answered: an event tells
    try:
        size = sysio.write(worker.fd, client.held)
    except BlockingIOError:
        return 0
    client.held = client.held[size:]
    return size


def verdict(client: Side, worker: Side, why: Why, lasted: float) -> bool | None:
    """What a session's end says of the worker: it is well, it has failed (False), or nothing.

    It has failed where it reset the connection soon, before it sent a byte. If the user left
    first, that may be why.
    """
    if worker.moved or worker.held:
        return True
    return False if why is Why.WORKER_RESET and lasted < EARLY and not client.ended else None
