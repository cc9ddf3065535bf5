"""BIRD's control-socket replies, parsed without I/O.

The format is that of BIRD 2 and 3 (``nest/cli.c``, ``doc/reply_codes``): ``NNNN-text`` goes on,
``NNNN text`` ends the reply, a leading space repeats the code before, ``+text`` is a log line that
may come at any time. A reply ends on *any* ``NNNN `` line: a list of ending codes, as published
clients have it, blocks for ever on a code that is not on the list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

MAX_LINE = 1 << 20
"""Bytes; a route with thousands of communities stays far below."""
MAX_REPLY = 64 << 20
"""Bytes."""

_CODED = re.compile(rb"(\d{4})([ -])(.*)", re.DOTALL)
_CONTINUED = re.compile(rb"(?: [^\n]*\n)+")


class ProtocolError(Exception):
    """What came is not BIRD's control protocol; the connection is of no more use."""


@dataclass(frozen=True)
class Line:
    """One line of a reply, with the code that stands before it or that it repeats."""

    code: int
    text: str


@dataclass(frozen=True)
class Reply:
    """A whole reply; `code` is that of its last line.

    Taken apart only when it is looked at: a reply of thousands of lines that is the same as the
    one before is told by `raw`.
    """

    code: int
    raw: bytes
    """As it came, without notices."""

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """Its lines, each with its code."""
        found = []
        code = self.code
        for line in self.raw[:-1].split(b"\n"):
            if line.startswith(b" "):
                found.append(Line(code, _text(line[1:])))
            else:
                code = int(line[:4])
                found.append(Line(code, _text(line[5:])))
        return tuple(found)

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
        self._reply = bytearray()
        self._error: ProtocolError | None = None

    def feed(self, data: bytes) -> None:
        """Add what was received; `next` then gives what is complete."""
        self._buffer += data

    def next(self) -> Reply | Notice | None:
        """The next reply or notice, or None: more bytes are needed. Raises ProtocolError."""
        try:
            while self._error is None:
                self._take_continued()
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
        return bool(self._reply or self._buffer)

    def _take_continued(self) -> None:
        """Whole continuation lines at the start of the buffer, however many, in one go."""
        if self._reply and (match := _CONTINUED.match(self._buffer)):
            if max(map(len, match[0].split(b"\n"))) > MAX_LINE:
                raise ProtocolError(f"a line of more than {MAX_LINE} bytes")
            self._keep(match[0])
            del self._buffer[: match.end()]
            self._scanned = 0

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
        if line.startswith(b" "):
            raise ProtocolError("a continuation line with nothing before it")
        match = _CODED.fullmatch(line)
        if not match:
            raise ProtocolError(f"a line without a code: {_text(line[:80])!r}")
        self._keep(line + b"\n")
        if match[2] == b"-":
            return None
        reply = Reply(int(match[1]), bytes(self._reply))
        self._reply.clear()
        return reply

    def _keep(self, lines: bytes) -> None:
        self._reply += lines
        if len(self._reply) > MAX_REPLY:
            raise ProtocolError(f"a reply of more than {MAX_REPLY} bytes")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
