"""BIRD's control-socket replies, parsed without I/O.

The format is that of BIRD 2 and 3 (``nest/cli.c``, ``doc/reply_codes``): ``NNNN-text`` goes on,
``NNNN text`` ends the reply, a leading space repeats the code before, ``+text`` is a log line that
may come at any time. A reply ends on *any* ``NNNN `` line: a list of ending codes, as published
clients have it, blocks for ever on a code that is not on the list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LINE = 1 << 20
"""Bytes; a route with thousands of communities stays far below."""
MAX_REPLY = 64 << 20
"""Bytes."""

_CODED = re.compile(rb"(\d{4})([ -])(.*)", re.DOTALL)


class ProtocolError(Exception):
    """What came is not BIRD's control protocol; the connection is of no more use."""


@dataclass(frozen=True)
class Line:
    """One line of a reply, with the code that stands before it or that it repeats."""

    code: int
    text: str


@dataclass(frozen=True)
class Reply:
    """A whole reply; `code` is that of its last line."""

    code: int
    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        """All lines without their codes; an empty line at the end is left out."""
        return "\n".join(line.text for line in self.lines).rstrip("\n")

    @property
    def failed(self) -> bool:
        """8xxx: run-time error, 9xxx: the command was not understood."""
        return self.code >= 8000


@dataclass(frozen=True)
class Notice:
    """An asynchronous log line (``echo``), no part of any reply."""

    text: str


class ReplyParser:
    """Takes bytes in any portions, gives replies. Once it raised, it raises for ever."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._lines: list[Line] = []
        self._size = 0
        self._error: ProtocolError | None = None

    def feed(self, data: bytes) -> None:
        """Add what was received; `next` then gives what is complete."""
        self._buffer += data

    def next(self) -> Reply | Notice | None:
        """The next reply or notice, or None: more bytes are needed. Raises ProtocolError."""
        try:
            while self._error is None:
                line = self._next_line()
                if line is None:
                    return None
                if line.startswith(b"+"):
                    return Notice(_text(line[1:]))
                if reply := self._take(line):
                    return reply
        except ProtocolError as error:
            self._error = error
        raise self._error or AssertionError

    @property
    def pending(self) -> bool:
        """Whether a reply has begun that is not complete."""
        return bool(self._lines or self._buffer)

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._scanned)
        if (len(self._buffer) if end < 0 else end) > MAX_LINE:
            raise ProtocolError(f"a line of more than {MAX_LINE} bytes")
        if end < 0:
            self._scanned = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return line

    def _take(self, line: bytes) -> Reply | None:
        self._size += len(line) + 1
        if self._size > MAX_REPLY:
            raise ProtocolError(f"a reply of more than {MAX_REPLY} bytes")
        if line.startswith(b" "):
            if not self._lines:
                raise ProtocolError("a continuation line with nothing before it")
            self._lines.append(Line(self._lines[-1].code, _text(line[1:])))
            return None
        match = _CODED.fullmatch(line)
        if not match:
            raise ProtocolError(f"a line without a code: {_text(line[:80])!r}")
        self._lines.append(Line(int(match[1]), _text(match[3])))
        if match[2] == b"-":
            return None
        reply = Reply(int(match[1]), tuple(self._lines))
        self._lines = []
        self._size = 0
        return reply


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
