"""Opening the sockets that users connect to."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack

from edgenode.steering.table import split_endpoint

BACKLOG = 4096

# A user who vanished without a word is noticed after 5 minutes, however long the idle timeout is.
_KEEPALIVE_AFTER, _KEEPALIVE_EACH, _KEEPALIVES = 150, 30, 5  # seconds, seconds, probes

_IPV6_FREEBIND = 78  # linux/in6.h; not in Python's socket module
_IP_FREEBIND = 15  # linux/in.h


class ListenError(Exception):
    """An address cannot be listened on; the message says why."""


def open_listeners(listen: str, count: int) -> list[socket.socket]:
    """Open listeners that share the address (SO_REUSEPORT), all or none. Raises ListenError.

    The address need not be on the machine yet (IP_FREEBIND, ip(7)).
    """
    with ExitStack() as stack:
        try:
            listeners = [stack.enter_context(_open(listen)) for _ in range(count)]
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            hint = "; is another process there?" if error.errno == errno.EADDRINUSE else ""
            raise ListenError(f"cannot listen on {listen}: {reason}{hint}") from None
        stack.pop_all()
    return listeners


def _open(listen: str) -> socket.socket:
    address, port = split_endpoint(listen)
    ipv6 = address.version == 6
    listener = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if ipv6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        # What is accepted inherits these, without a system call.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_AFTER)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_EACH)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVES)
        listener.bind((str(address), port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
