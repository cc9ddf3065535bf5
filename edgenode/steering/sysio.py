"""The system calls of the relay, by raw descriptor; all sockets are non-blocking TCP.

This is the one module that a compiled body replaces. Each call raises OSError, BlockingIOError if
it would wait, and never blocks.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IP,
    IPPROTO_TCP,
    MSG_DONTWAIT,
    MSG_MORE,
    MSG_NOSIGNAL,
    MSG_PEEK,
    SHUT_WR,
    SO_BINDTODEVICE,
    SO_ERROR,
    SO_LINGER,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_INFO,
    TCP_NODELAY,
    TCP_QUICKACK,
)

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; not in Python's socket module
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close(2) sends RST, see socket(7)
_INFO = struct.Struct("=68xI28xI32xI")  # tcpi_rtt, tcpi_total_retrans, tcpi_segs_out
_MORE = MSG_MORE | MSG_DONTWAIT | MSG_NOSIGNAL

# Python offers most calls on socket objects alone; they are made when first needed.
_sockets: dict[int, socket.socket] = {}

read = os.read
write = os.write


def accept(listener: socket.socket) -> tuple[int, str, int]:
    """Take a connection from the queue; return its descriptor and the peer's address and port."""
    # socket.accept() would build a socket object, with a system call of its own, that most
    # connections never need.
    fd, peer = listener._accept()  # type: ignore[attr-defined]
    try:
        os.set_blocking(fd, False)
    except OSError:
        os.close(fd)
        raise
    return fd, peer[0], peer[1]


def open_upstream(ipv6: bool, device: str | None, source: str | None) -> int:
    """Return a socket bound to the device and the source address, as far as given.

    The port is chosen at connect, when the destination is known: each may use all ports.
    """
    upstream = socket.socket(AF_INET6 if ipv6 else AF_INET, SOCK_STREAM | SOCK_NONBLOCK)
    try:
        if device is not None:
            upstream.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, device.encode())
        if source is not None:
            upstream.setsockopt(IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            upstream.bind((source, 0))
        upstream.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        # The handshake's last acknowledgement then leaves with the first bytes.
        upstream.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 0)
    except OSError:
        upstream.close()
        raise
    fd = upstream.fileno()
    _sockets[fd] = upstream
    return fd


def connect(fd: int, host: str, port: int) -> int:
    """Begin to connect; return the error number, EINPROGRESS as a rule."""
    return _socket(fd).connect_ex((host, port))


def take_error(fd: int) -> int:
    """Return and clear the socket's pending error number, 0 if there is none."""
    return _socket(fd).getsockopt(SOL_SOCKET, SO_ERROR)


def is_quiet(fd: int) -> bool:
    """Whether the peer has neither sent anything nor ended the connection."""
    try:
        _socket(fd).recv(1, MSG_PEEK | MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def local_address(fd: int) -> tuple[str, int]:
    """Return the address and port that the user connected to."""
    name = _socket(fd).getsockname()
    return name[0], name[1]


def tcp_info(fd: int) -> tuple[int, int, int]:
    """What the kernel says of the way to the peer, see `tcp_info` in linux/tcp.h.

    Return the smoothed round trip (microseconds, 0 while unknown), segments sent and sent again.
    """
    info = _socket(fd).getsockopt(IPPROTO_TCP, TCP_INFO, _INFO.size)
    rtt, again, segments = _INFO.unpack(info)
    return rtt, segments, again


def write_more(fd: int, data: bytes) -> int:
    """Write, and let the last segment wait for what follows at once (the end, as a rule)."""
    return _socket(fd).send(data, _MORE)


def end_writing(fd: int) -> None:
    """Send FIN after what has been written."""
    _socket(fd).shutdown(SHUT_WR)


def unsent(fd: int) -> bool:
    """Whether the other end has not confirmed yet all bytes before our FIN (SIOCOUTQ, tcp(7))."""
    size: int
    (size,) = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))
    return size > 1  # the FIN counts as one


def close(fd: int) -> None:
    """Close in order: what has been written still arrives."""
    known = _sockets.pop(fd, None)
    if known is None:
        os.close(fd)
    else:
        known.close()


def reset(fd: int) -> None:
    """Close with RST: what has been written may be lost, and the peer learns that it may be."""
    try:
        _socket(fd).setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
    finally:
        close(fd)


def _socket(fd: int) -> socket.socket:
    known = _sockets.get(fd)
    if known is None:
        # Family, type and protocol only spare three system calls: none of the calls here uses them
        # but getsockname, which asks the kernel.
        known = _sockets[fd] = socket.socket(AF_INET, SOCK_STREAM, 0, fd)
    return known
