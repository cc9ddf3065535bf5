"""What a TLS client asks for, read from its first message without terminating. Pure.

Sources: RFC 8446 sections 4.1.2 (ClientHello) and 5.1 (records), RFC 6066 section 3 (server_name),
RFC 7301 section 3.1 (ALPN), RFC 8701 (GREASE: values that mean nothing, and are passed over).

Where the hello is encrypted (ECH), it is the outer one that is read: its name is the one that the
client shows to everybody on the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

LIMIT = 16 * 1024
"""Bytes within which a hello ends, its records' headers included. Those of today's browsers, with a
post-quantum key share, have 2,000."""

_MOST_EXTENSIONS, _MOST_PROTOCOLS = 128, 64
"""Far more than anybody has. There is room for thousands: to read these, and to look for a service
that takes them, would cost 20 ms, in which all others wait."""

_RECORD = 5  # content type, version, length
_HANDSHAKE = 0x16
_MAJOR = 0x03  # of all versions from SSL 3.0 on; what follows must be ignored
_LARGEST_RECORD = 2**14
_CLIENT_HELLO = 0x01
_MESSAGE = 4  # type, length
_VERSION_AND_RANDOM = 2 + 32
_SERVER_NAME, _ALPN = 0, 16
_HOST_NAME = 0

_PRINTABLE = re.compile(rb"[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Hello:
    """`sni` in lower case, empty if there is none; `alpn` in the client's order.

    Protocols that are not printable ASCII are left out: GREASE, and what no service can name.
    """

    sni: str
    alpn: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bad:
    """It began as TLS, and is no hello."""

    reason: str


class Unfinished(Enum):
    MORE = auto()  # what has come is the beginning of a hello
    NOT_TLS = auto()


Outcome = Hello | Bad | Unfinished


class _Malformed(Exception):
    pass


class Reader:
    """Reads one hello, over any number of segments and records.

    The bytes are the caller's to keep: each call gets all that have come, and goes on where the
    last one stopped, so that many small pieces cost no more than a large one.
    """

    __slots__ = ("_at", "_message")

    def __init__(self) -> None:
        self._at = 0  # where the next record begins
        self._message = b""

    def read(self, data: bytes) -> Outcome:
        """`data`: all bytes since the connection began (or its PROXY header ended)."""
        if data[:1] not in (b"", b"\x16") or data[1:2] not in (b"", b"\x03"):
            return Unfinished.NOT_TLS
        try:
            hello = self._next_records(data)
        except _Malformed as error:
            return Bad(str(error))
        if hello is not None:
            return hello
        return Unfinished.MORE if len(data) < LIMIT else Bad(f"it is longer than {LIMIT} bytes")

    def _next_records(self, data: bytes) -> Hello | None:
        while len(data) >= self._at + _RECORD:
            at = self._at
            if data[at] != _HANDSHAKE or data[at + 1] != _MAJOR:
                raise _Malformed("a record within it is none of the handshake")
            size = int.from_bytes(data[at + 3 : at + 5], "big")
            if not 0 < size <= _LARGEST_RECORD:
                raise _Malformed(f"a record has {size} bytes")
            end = at + _RECORD + size
            if end > LIMIT:
                raise _Malformed(f"it is longer than {LIMIT} bytes")
            if len(data) < end:
                return None
            self._message += data[at + _RECORD : end]
            self._at = end
            if hello := self._whole():
                return hello
        return None

    def _whole(self) -> Hello | None:
        message = self._message
        if message[0] != _CLIENT_HELLO:
            raise _Malformed(f"the handshake begins with a message of type {message[0]}")
        if len(message) < _MESSAGE:
            return None
        end = _MESSAGE + int.from_bytes(message[1:_MESSAGE], "big")
        if end > LIMIT:
            raise _Malformed(f"it is longer than {LIMIT} bytes")
        if len(message) < end:
            return None
        if len(message) > end:
            raise _Malformed("its record does not end with it")
        return _parse(message[_MESSAGE:])


class _Fields:
    """The fields of a message, one after the other. Raises _Malformed where they are cut off."""

    __slots__ = ("_at", "_data", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    @property
    def left(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise _Malformed(f"{self._what} is cut off")
        found = self._data[self._at : end]
        self._at = end
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """What stands behind its length, which has `size` bytes."""
        return self.take(self.number(size))

    def end(self) -> None:
        if self.left:
            raise _Malformed(f"{self._what} is followed by more")


def _parse(body: bytes) -> Hello:
    fields = _Fields(body, "it")
    fields.take(_VERSION_AND_RANDOM)
    if len(fields.vector(1)) > 32:
        raise _Malformed("its session id is too long")
    ciphers = fields.vector(2)
    if not ciphers or len(ciphers) % 2:
        raise _Malformed("its cipher suites are malformed")
    if not fields.vector(1):
        raise _Malformed("it has no compression method")
    if not fields.left:  # TLS 1.2 and before, RFC 5246 section 7.4.1.2
        return Hello("", ())
    extensions = _Fields(fields.vector(2), "the list of its extensions")
    fields.end()
    sni = ""
    alpn: tuple[str, ...] = ()
    seen: set[int] = set()
    while extensions.left:
        kind = extensions.number(2)
        data = extensions.vector(2)
        if kind in seen:
            raise _Malformed(f"the extension {kind} is there twice")
        seen.add(kind)
        if len(seen) > _MOST_EXTENSIONS:
            raise _Malformed(f"it has more than {_MOST_EXTENSIONS} extensions")
        if kind == _SERVER_NAME:
            sni = _server_name(data)
        elif kind == _ALPN:
            alpn = _protocols(data)
    return Hello(sni, alpn)


def _server_name(data: bytes) -> str:
    what = "the server name"
    extension = _Fields(data, what)
    names = _Fields(extension.vector(2), what)
    extension.end()
    found = ""
    while names.left:
        kind = names.number(1)
        name = names.vector(2)
        if kind != _HOST_NAME:
            continue
        if found:
            raise _Malformed("there are two server names")
        if not _PRINTABLE.fullmatch(name):
            raise _Malformed("the server name is none")
        found = name.decode().lower().removesuffix(".")
    if not found:
        raise _Malformed("the server name is empty")
    return found


def _protocols(data: bytes) -> tuple[str, ...]:
    what = "the list of protocols (ALPN)"
    extension = _Fields(data, what)
    protocols = _Fields(extension.vector(2), what)
    extension.end()
    found = []
    count = 0
    if not protocols.left:
        raise _Malformed(f"{what} is empty")
    while protocols.left:
        protocol = protocols.vector(1)
        count += 1
        if count > _MOST_PROTOCOLS:
            raise _Malformed(f"{what} has more than {_MOST_PROTOCOLS}")
        if not protocol:
            raise _Malformed("a protocol (ALPN) has no name")
        if _PRINTABLE.fullmatch(protocol):
            found.append(protocol.decode())
    return tuple(found)
