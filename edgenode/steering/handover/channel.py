"""Messages with descriptors between two versions: JSON over a Unix SOCK_SEQPACKET socket.

What is large goes in a sealed memfd (memfd_create(2), F_ADD_SEALS of fcntl(2)), so that nobody can
change it while it is read.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import select
import socket
import time
from collections.abc import Sequence
from typing import Any

MOST_DESCRIPTORS = 253  # SCM_MAX_FD, see unix(7)

_LONGEST = 64 * 1024
_ADD_SEALS, _GET_SEALS = 1033, 1034  # F_ADD_SEALS, F_GET_SEALS: linux/fcntl.h
_SEALS = 0xF  # F_SEAL_SEAL, _SHRINK, _GROW and _WRITE

Message = dict[str, Any]


class Closed(OSError):
    """The other end has closed."""


class Broken(OSError):
    """What came cannot be used; the text says why."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends. Raises OSError."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Channel:
    """One end. All calls raise OSError: Closed, Broken, and TimeoutError after `deadline`.

    Deadlines are of the monotonic clock, in seconds; one that has passed: nothing is waited for.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        end.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def writable(self) -> bool:
        """Whether it takes a message now: the kernel keeps a few for a reader that is slow."""
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        return bool(poll.poll(0))

    def send(
        self, message: Message, descriptors: Sequence[int] = (), deadline: float = 0.0
    ) -> None:
        """Send a message and copies of at most MOST_DESCRIPTORS descriptors."""
        data = json.dumps(message).encode()
        rights = array.array("i", descriptors)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
        while True:
            try:
                self._socket.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)
            except (BrokenPipeError, ConnectionResetError):
                raise Closed("the other end has closed") from None
            else:
                return

    def receive(self, deadline: float = 0.0) -> tuple[Message, list[int]]:
        """The next message, and its descriptors."""
        again = True
        while True:
            try:
                data, ancillary, flags, _ = self._socket.recvmsg(
                    _LONGEST, socket.CMSG_SPACE(MOST_DESCRIPTORS * 4), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                self._wait(select.POLLIN, deadline)
                continue
            except ConnectionResetError:
                # It may be told ahead of what was sent before the end.
                if again:
                    again = False
                    continue
                raise Closed("the other end has closed") from None
            break
        descriptors = _descriptors(ancillary)
        try:
            if flags & socket.MSG_CTRUNC:
                raise Broken(
                    "descriptors were lost on the way: the limit of open files (LimitNOFILE=) is"
                    " too low"
                )
            if not data and not descriptors:
                raise Closed("the other end has closed")
            message = json.loads(data)
            if not isinstance(message, dict):
                raise Broken("a message that is no object")
        except (ValueError, RecursionError):
            close_all(descriptors)
            raise Broken("a message that is no JSON") from None
        except OSError:
            close_all(descriptors)
            raise
        return message, descriptors

    def _wait(self, events: int, deadline: float) -> None:
        left = deadline - time.monotonic()
        poll = select.poll()  # select(2) ends at descriptor 1023
        poll.register(self._socket, events)
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError("the other end did not answer in time")


def close_all(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        with contextlib.suppress(OSError):
            os.close(fd)


def _descriptors(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) // 4 * 4])
    return found.tolist()


# --- sealed memory


def seal(data: bytes) -> int:
    """The bytes in a sealed file without a name. Raises OSError."""
    fd = os.memfd_create("edgenode-handover", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, _ADD_SEALS, _SEALS)
    except OSError:
        os.close(fd)
        raise
    return fd


def unseal(fd: int) -> bytes:
    """What `seal` was given; the descriptor is closed. Raises OSError."""
    try:
        if fcntl.fcntl(fd, _GET_SEALS) & _SEALS != _SEALS:
            raise Broken("the state is not sealed")
        size, pieces, at = os.fstat(fd).st_size, [], 0
        while at < size:
            piece = os.pread(fd, size - at, at)
            if not piece:
                raise Broken("the state is cut off")
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)
    finally:
        os.close(fd)


# --- the token


def make_token() -> int:
    """A new token, not claimed. Raises OSError."""
    return os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def claim(token: int) -> bool:
    """Whether it was there; if so, it is ours now."""
    try:
        os.eventfd_read(token)
    except BlockingIOError:
        return False
    return True


def give_back(token: int) -> None:
    """Let another claim it."""
    os.eventfd_write(token, 1)


def claimed(token: int) -> bool:
    """Whether somebody has it."""
    poll = select.poll()
    poll.register(token, select.POLLIN)
    return not poll.poll(0)
