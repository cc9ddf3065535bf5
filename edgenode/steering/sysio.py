"""The system calls of the relay, by raw descriptor; all sockets are non-blocking TCP.

This is the interpreted body; the compiled one is sysio.pyx. No call blocks but `Epoll.wait`. The
functions raise OSError, BlockingIOError if they would wait; the methods of `Transfer` return the
error number below zero.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
import termios
import time
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
    SO_OOBINLINE,
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

# Events of `Epoll`.
INPUT = select.EPOLLIN
OUTPUT = select.EPOLLOUT
ERROR = select.EPOLLERR
END = select.EPOLLRDHUP | select.EPOLLHUP
URGENT = select.EPOLLPRI
READABLE = INPUT | END | ERROR
WATCH_INPUT = INPUT | URGENT | select.EPOLLRDHUP | select.EPOLLET
WATCH_BOTH = WATCH_INPUT | OUTPUT

WOULD_BLOCK = -errno.EAGAIN
"""What the methods of `Transfer` return if they would wait."""

BUFFER = 128 * 1024
"""Bytes that a `Transfer` carries at once."""

_MOST_EVENTS = 512

# Python offers most calls on socket objects alone; they are made when first needed.
_sockets: dict[int, socket.socket] = {}

read = os.read
write = os.write
monotonic = time.monotonic


class Epoll:
    """What is to be told of descriptors, and what was told in the present round: see epoll(7)."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._events: list[tuple[int, int]] = []

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()

    def register(self, fd: int, events: int) -> None:
        self._epoll.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        self._epoll.unregister(fd)

    def wait(self, seconds: float) -> int:
        """Wait for events, for so long at most; return how many descriptors have some."""
        self._events = self._epoll.poll(seconds, _MOST_EVENTS)
        return len(self._events)

    def fd(self, at: int) -> int:
        """The descriptor of an event of this round."""
        return self._events[at][0]

    def events(self, at: int) -> int:
        """What has happened to it."""
        return self._events[at][1]


class Pipe:
    """A pipe that bytes pass through without being copied, see splice(2); closed with the object.

    Raises OSError if there is none, or none of the size.
    """

    def __init__(self, size: int) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, size)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        for fd in (self.reader, self.writer):
            if fd >= 0:
                os.close(fd)
        self.reader = self.writer = -1

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # it was never opened
            self.close()


class Transfer:
    """Carries bytes between sockets, through one buffer that all connections use in turn.

    The methods return a number of bytes or, below zero, an error number.
    """

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(BUFFER))

    def read(self, fd: int, size: int) -> int:
        """Read into the buffer; 0 at the end."""
        try:
            return os.readv(fd, (self._buffer[:size],))
        except OSError as error:
            return -(error.errno or errno.EIO)

    def write(self, fd: int, size: int, more: bool) -> int:
        """Write the first bytes of the buffer; `more`: something follows at once, the end mostly.

        The last segment waits for it then.
        """
        return self._write(fd, self._buffer[:size], more)

    def rest(self, start: int, size: int) -> bytes:
        """What is in the buffer from there on, of so many bytes."""
        return bytes(self._buffer[start:size])

    def write_held(self, fd: int, data: bytes, more: bool) -> int:
        """Write bytes that are in no buffer; see `write`."""
        return self._write(fd, data, more)

    def fill(self, pipe: Pipe, fd: int, size: int) -> int:
        """Move bytes from the socket into the pipe; 0 at the end."""
        try:
            return os.splice(fd, pipe.writer, size, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)
        except OSError as error:
            return -(error.errno or errno.EIO)

    def drain(self, pipe: Pipe, fd: int, size: int, more: bool) -> int:
        """Move bytes out of the pipe into the socket; `more`: see `write`."""
        flags = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK | (os.SPLICE_F_MORE if more else 0)
        try:
            return os.splice(pipe.reader, fd, size, flags=flags)
        except OSError as error:
            return -(error.errno or errno.EIO)

    def end_writing(self, fd: int) -> int:
        """Send FIN after what has been written; 0 if it has been."""
        try:
            _socket(fd).shutdown(SHUT_WR)
        except OSError as error:
            return -(error.errno or errno.EIO)
        return 0

    def unsent(self, fd: int) -> bool:
        """See `unsent`; raises OSError."""
        return unsent(fd)

    def _write(self, fd: int, data: memoryview | bytes, more: bool) -> int:
        try:
            return _socket(fd).send(data, _MORE) if more else os.write(fd, data)
        except OSError as error:
            return -(error.errno or errno.EIO)


def accept(listener: socket.socket) -> tuple[int, tuple[str, int]] | None:
    """Take a connection from the queue; return its descriptor and the peer's address and port.

    None: the queue is empty.
    """
    # socket.accept() would build a socket object, with a system call of its own, that most
    # connections never need.
    try:
        fd, peer = listener._accept()  # type: ignore[attr-defined]
    except BlockingIOError:
        return None
    try:
        os.set_blocking(fd, False)
    except OSError:
        os.close(fd)
        raise
    return fd, (peer[0], peer[1])


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
        # An urgent byte keeps its place among the others, see tcp(7).
        upstream.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)
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
    known = _sockets.get(fd)
    if known is None:
        known = _sockets[fd] = socket.socket(fileno=fd)  # of its family, which is asked for
    name = known.getsockname()
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
        # Family, type and protocol only spare three system calls: none of the calls that use this
        # one needs the right family.
        known = _sockets[fd] = socket.socket(AF_INET, SOCK_STREAM, 0, fd)
    return known
