"""Raw sockets for probes and tripwires: connect without waiting, close without a trace."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from pathlib import Path

from edgenode.config import Endpoint
from edgenode.health.observation import ProbeFailedError

Target = Endpoint | Path
"""An address and a TCP port, or a Unix socket."""

OWN_FAULT = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.EAGAIN,
        errno.EADDRNOTAVAIL,  # connect(2): all ephemeral ports are in use
    }
)
"""Errors that tell of this process and not of the target."""

NOBODY_LISTENS = frozenset({errno.ECONNREFUSED, errno.ENOENT})
"""Results of a connect that prove it; ENOENT: a Unix socket that its server has removed."""

_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EALREADY})

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # socket(7): SO_LINGER on, 0 seconds


def open_stream(target: Target) -> socket.socket:
    """A non-blocking socket of the target's family, not inherited by children (PEP 446).

    A TCP socket closes with RST, so that neither side keeps a TIME_WAIT for each probe (at one a
    second these would be 60 for every check). RST is harmless to the proxy here: it never
    discards data that somebody waits for, since a TCP probe sends none and an HTTP probe has its
    answer by then. A proxy meets it as ECONNRESET on a connection without a request, which nginx
    logs at `info` only; and one that still lies in the accept queue is dropped by the proxy's
    first read. HAProxy ends its own checks in the same way.
    """
    if isinstance(target, Path):
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    family = socket.AF_INET if target.host.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    return sock


def connect_now(sock: socket.socket, target: Target) -> int | None:
    """Start to connect; the result where there is one at once: 0 or an errno. None: not yet.

    Asked again, connect(2) says what came of it, once: one call instead of poll and SO_ERROR.

    A local address answers within the call: the kernel delivers SYN and answer over loopback
    before `connect` returns, but says EINPROGRESS all the same. A Unix socket always does; one
    whose queue is full says EAGAIN (connect(2)), which is the target's fault, and ETIMEDOUT here.
    """
    if isinstance(target, Path):
        error = sock.connect_ex(os.fspath(target))
        return errno.ETIMEDOUT if error == errno.EAGAIN else error
    error = sock.connect_ex(target.address)
    if error == errno.EINPROGRESS:
        error = sock.connect_ex(target.address)
    if error in _UNDER_WAY:
        return None
    return errno.ECONNREFUSED if error == 0 and connected_to_itself(sock, target) else error


def connected_to_itself(sock: socket.socket, target: Endpoint) -> bool:
    """TCP's simultaneous open: nobody listens on a local port of the ephemeral range, the kernel
    picks that very port as our own, and the socket connects to itself (RFC 9293, 3.5)."""
    try:
        return bool(sock.getsockname()[:2] == target.address)
    except OSError:
        return False  # reset already: connected it was, and to somebody else


def explain(target: Target, error: int) -> str:
    """One sentence on a failed connect."""
    if isinstance(target, Path) and error == errno.ETIMEDOUT:
        return f"connection to {target} failed: its queue is full"
    if error == errno.ECONNREFUSED:
        return f"connection to {target} refused"
    return f"connection to {target} failed: {os.strerror(error)}"


async def connect(sock: socket.socket, target: Target) -> None:
    """Connect; raises ProbeFailedError, and OSError where the fault is our own."""
    await connected(sock, target, connect_now(sock, target))


async def connect_far(sock: socket.socket, target: Endpoint) -> None:
    """`connect` for a socket that is bound to another address than the target's.

    Nothing answers within the call, nor can it meet itself: thousands of probes are spared the
    system calls that would tell.
    """
    error = sock.connect_ex(target.address)
    while error in _UNDER_WAY:
        await _writable(sock)
        error = sock.connect_ex(target.address)
    _raise_for(error, target)


async def connected(sock: socket.socket, target: Target, error: int | None) -> None:
    """Wait for what `connect_now` has begun and said of it; raises as `connect`."""
    while error is None:
        await _writable(sock)
        error = connect_now(sock, target)
    _raise_for(error, target)


def _raise_for(error: int, target: Target) -> None:
    if error in OWN_FAULT:
        raise OSError(error, os.strerror(error))
    if error:
        raise ProbeFailedError(explain(target, error), timed=error == errno.ETIMEDOUT)


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    # By its number: selectors make a text of what they do not know yet, for an error that nobody
    # sees, and that of a socket asks the kernel for both of its addresses.
    number = sock.fileno()
    loop.add_writer(number, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(number)
