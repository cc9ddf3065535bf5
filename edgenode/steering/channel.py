"""Messages between the supervisor and a relay worker, over a Unix socket pair.

Each message is a JSON object behind its length (4 bytes, big endian), and may carry descriptors.
A message that carries some says how many; they travel with its first byte, see unix(7).
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from typing import Any

MAX_DESCRIPTORS = 253  # SCM_MAX_FD, see unix(7)

_LENGTH = 4
_PIECE = 256 * 1024
_COUNT = "descriptors"

Message = dict[str, Any]


class Channel:
    """One end. Nothing waits: what cannot be sent yet is kept, `flush` goes on with it."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._socket.setblocking(False)
        self._outgoing: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._incoming = bytearray()
        self._descriptors: deque[int] = deque()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def blocked(self) -> bool:
        """Whether something waits until the socket can be written."""
        return bool(self._outgoing)

    def send(self, message: Message, descriptors: tuple[int, ...] = ()) -> None:
        """Send a message and copies of the descriptors. Raises OSError.

        After an error that does not mean that the other is gone, it lacks a message.
        """
        if len(descriptors) > MAX_DESCRIPTORS:
            raise ValueError(f"{len(descriptors)} descriptors are too many for a message")
        body = json.dumps({**message, _COUNT: len(descriptors)}).encode()
        copies = _copy(descriptors)
        self._outgoing.append((len(body).to_bytes(_LENGTH, "big") + body, copies))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it. Raises OSError."""
        while self._outgoing:
            data, descriptors = self._outgoing[0]
            try:
                if descriptors:
                    size = socket.send_fds(self._socket, [data], list(descriptors))
                else:
                    size = self._socket.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            for fd in descriptors:
                os.close(fd)
            if size == len(data):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = (data[size:], ())

    def receive(self) -> list[tuple[Message, list[int]]] | None:
        """Return the messages that have come, with their descriptors; None if the end has come.

        Raises OSError, and ValueError if descriptors were lost on the way.
        """
        while True:
            try:
                # One call never takes more descriptors than one message carries.
                data, descriptors, flags, _ = socket.recv_fds(
                    self._socket, _PIECE, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return self._complete()
            self._descriptors.extend(descriptors)
            if flags & socket.MSG_CTRUNC:
                raise ValueError("the descriptor limit is too low: descriptors were lost")
            if not data:
                return self._complete() or None
            self._incoming += data

    def close(self) -> None:
        self._socket.close()
        for _, descriptors in self._outgoing:
            self._descriptors.extend(descriptors)
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def _complete(self) -> list[tuple[Message, list[int]]]:
        messages: list[tuple[Message, list[int]]] = []
        while len(self._incoming) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._incoming[:_LENGTH], "big")
            if len(self._incoming) < end:
                break
            message: Message = json.loads(self._incoming[_LENGTH:end])
            del self._incoming[:end]
            count = message.pop(_COUNT)
            messages.append((message, [self._descriptors.popleft() for _ in range(count)]))
        return messages


def _copy(descriptors: tuple[int, ...]) -> tuple[int, ...]:
    """Raises OSError, and then has copied none."""
    copies: list[int] = []
    try:
        copies.extend(os.dup(fd) for fd in descriptors)
    except OSError:
        for fd in copies:
            os.close(fd)
        raise
    return tuple(copies)
