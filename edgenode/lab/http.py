"""As much HTTP/1.1 as the lab's users speak: a GET, and a reply with a length. Pure."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass, field
from typing import Any


class BadReply(Exception):
    """A reply that is no success; the text is a short word for it."""


def request(host: str, path: str, keep: bool) -> bytes:
    """The bytes of a GET."""
    connection = "keep-alive" if keep else "close"
    literal = f"[{host}]" if ":" in host else host
    return f"GET {path} HTTP/1.1\r\nHost: {literal}\r\nConnection: {connection}\r\n\r\n".encode()


@dataclass
class Reply:
    """A reply that comes in pieces; bodies longer than `LIMIT` are counted, not kept."""

    buffer: bytearray = field(default_factory=bytearray)
    status: int = 0
    left: int = -1
    length: int = 0

    LIMIT = 65536

    def feed(self, data: bytes) -> bool:
        """Take a piece; True when the reply is complete. Raises BadReply for what is no HTTP."""
        if self.left < 0:
            self.buffer += data
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = bytes(self.buffer[:end])
            data = bytes(self.buffer[end + 4 :])
            self.buffer.clear()
            self._head(head)
        self.left -= len(data)
        if self.length <= self.LIMIT:
            self.buffer += data
        return self.left <= 0

    def _head(self, head: bytes) -> None:
        first, *rest = head.decode("latin-1").split("\r\n")
        fields = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in rest)
        }
        try:
            self.status = int(first.split()[1])
            self.length = self.left = int(fields["content-length"])
        except (IndexError, KeyError, ValueError):
            raise BadReply("no HTTP") from None

    def body(self) -> dict[str, Any]:
        """What a complete reply said. Raises BadReply unless it is a 200."""
        if self.status != 200:
            raise BadReply(f"status {self.status}")
        if self.length > self.LIMIT:
            return {"bytes": self.length}
        try:
            value = json.loads(self.buffer)
        except ValueError:
            raise BadReply("no JSON") from None
        return value if isinstance(value, dict) else {"value": value}


_WORDS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ECONNABORTED: "reset",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ETIMEDOUT: "timeout",
}


def word(error: BaseException) -> str:
    """A short word for what went wrong: refused, reset, unreachable, timeout, eof, …"""
    if isinstance(error, OSError) and error.errno in _WORDS:
        return _WORDS[error.errno]
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, EOFError):
        return "eof"
    return str(error) or type(error).__name__
