"""The PROXY protocol, versions 1 and 2: how one proxy tells the next who its user is. Pure.

Source: "The PROXY protocol", versions 1 & 2, sections 2.1 and 2.2 (HAProxy,
doc/proxy-protocol.txt).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache, partial
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from struct import Struct

from edgenode.steering.crc32c import crc32c

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

LONGEST = 4096
"""Bytes of a header, version 2, that is taken: far more than anybody sends."""

ALPN, AUTHORITY, CRC32C, UNIQUE_ID = 0x01, 0x02, 0x03, 0x05
"""Types of additional fields (PP2_TYPE_…)."""

LONGEST_ID = 128

_FIXED = 16  # signature, version and command, family and protocol, length
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESSES = {_TCP4: 12, _TCP6: 36}
_FAMILIES, _TRANSPORTS = 4, 3  # how many are defined; others must be refused
_V2_TCP4, _V2_TCP6 = Struct("!12sBBH4s4sHH"), Struct("!12sBBH16s16sHH")
_FIELD = 3  # type, length
_CHECKSUM = 4

_V1 = b"PROXY "
_V1_LONGEST = 107  # with its CRLF
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_PRINTABLE = re.compile(rb"[!-~]{1,255}")

Endpoint = tuple[str, int]


class ProxyProtocolError(ValueError):
    """The bytes are not a PROXY protocol header."""


@dataclass(frozen=True, slots=True)
class Header:
    """A decoded header of `size` bytes.

    The addresses are None if the sender speaks for itself (`local`), or does not know or tell
    them: then those of the connection are the right ones. The rest is empty where it is not told;
    `unique_id` stands for bytes, as Latin-1.
    """

    source: Endpoint | None
    destination: Endpoint | None
    size: int
    local: bool = False
    authority: str = ""
    alpn: str = ""
    unique_id: str = ""


def encode(source: Endpoint, destination: Endpoint, fields: bytes = b"") -> bytes:
    """Return the header, version 2, for a TCP connection; both addresses of one family.

    `fields`: additional ones, each made by `field`. Raises OSError if an address is none, and
    struct.error if a port does not fit.
    """
    host, port = source
    own, own_port = destination
    if ":" in host:
        whole, size, kind, packed = _V2_TCP6, _ADDRESSES[_TCP6], _TCP6, _packed_v6(host)
        own_packed = _packed_v6_again(own)
    else:
        whole, size, kind, packed = _V2_TCP4, _ADDRESSES[_TCP4], _TCP4, inet_pton(AF_INET, host)
        own_packed = _packed_v4_again(own)
    size += len(fields)
    header = whole.pack(SIGNATURE, _PROXY, kind, size, packed, own_packed, port, own_port)
    return header + fields if fields else header


def _packed_v6(host: str) -> bytes:
    return inet_pton(AF_INET6, host.partition("%")[0])


# Destinations are few: this node's addresses.
_packed_v6_again = lru_cache(maxsize=256)(_packed_v6)
_packed_v4_again = lru_cache(maxsize=256)(partial(inet_pton, AF_INET))


def field(kind: int, value: bytes) -> bytes:
    """An additional field (TLV) of a header, version 2.

    Those of a header are best in ascending order: there are receivers that want it so.
    """
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


UNSUMMED = field(CRC32C, bytes(_CHECKSUM))
"""In the place of the checksum, until it is known."""


def summed(header: bytes, at: int) -> bytes:
    """The header with its checksum, `at` which UNSUMMED stands in it."""
    value = at + _FIELD
    checksum = crc32c(header).to_bytes(_CHECKSUM, "big")
    return header[:value] + checksum + header[value + _CHECKSUM :]


def encode_v1(source: Endpoint, destination: Endpoint) -> bytes:
    """Return the header, version 1, for a TCP connection; both addresses of one family."""
    family = "TCP6" if ":" in source[0] else "TCP4"
    hosts = f"{source[0].partition('%')[0]} {destination[0].partition('%')[0]}"
    return f"PROXY {family} {hosts} {source[1]} {destination[1]}\r\n".encode()


def decode(data: bytes) -> Header | None:
    """Decode the header that `data` starts with; None if more bytes are needed.

    Additional fields that mean nothing to us are skipped. Raises ProxyProtocolError.
    """
    if data[: len(SIGNATURE)] == SIGNATURE[: len(data)]:
        return _decode_v2(data)
    if data[: len(_V1)] == _V1[: len(data)]:
        return _decode_v1(data)
    raise ProxyProtocolError("no PROXY protocol signature")


def _decode_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, _V1_LONGEST)
    if end < 0:
        if len(data) >= _V1_LONGEST:
            raise ProxyProtocolError(f"no end of line within {_V1_LONGEST} bytes")
        return None
    size = end + 2
    family, *rest = data[len(_V1) : end].split(b" ")
    if family == b"UNKNOWN":  # whatever follows is to be ignored
        return Header(None, None, size)
    if family not in (b"TCP4", b"TCP6") or len(rest) != 4:
        raise ProxyProtocolError("a line of version 1 that is none")
    version = AF_INET if family == b"TCP4" else AF_INET6
    try:
        source, destination = (
            inet_ntop(version, inet_pton(version, host.decode("ascii"))) for host in rest[:2]
        )
    except (OSError, ValueError):
        raise ProxyProtocolError("an address is none") from None
    if not all(_PORT.fullmatch(port) and int(port) <= 65535 for port in rest[2:]):
        raise ProxyProtocolError("a port is none")
    return Header((source, int(rest[2])), (destination, int(rest[3])), size)


def _decode_v2(data: bytes) -> Header | None:
    if len(data) < _FIXED:
        return None
    command, kind = data[12], data[13]
    if command not in (_LOCAL, _PROXY):
        raise ProxyProtocolError(f"unknown version or command 0x{command:02x}")
    # Of a sender that speaks for itself the family is to be ignored.
    if command == _PROXY and (kind >> 4 >= _FAMILIES or kind & 0xF >= _TRANSPORTS):
        raise ProxyProtocolError(f"unknown family or transport 0x{kind:02x}")
    length = int.from_bytes(data[14:16], "big")
    size = _FIXED + length
    if size > LONGEST:
        raise ProxyProtocolError(f"a header of {size} bytes is too long")
    if len(data) < size:
        return None
    if command == _LOCAL or kind not in _ADDRESSES:
        return Header(None, None, size, local=command == _LOCAL)
    if length < _ADDRESSES[kind]:
        raise ProxyProtocolError(f"{length} bytes are too short for the addresses")
    family, width = (AF_INET, 4) if kind == _TCP4 else (AF_INET6, 16)
    at = _FIXED
    hosts = [inet_ntop(family, data[at + i * width : at + (i + 1) * width]) for i in (0, 1)]
    at += 2 * width
    ports = [int.from_bytes(data[at + i * 2 : at + i * 2 + 2], "big") for i in (0, 1)]
    told = _fields(data[:size], at + 4)
    return Header(
        (hosts[0], ports[0]),
        (hosts[1], ports[1]),
        size,
        authority=_text(told.get(AUTHORITY, b"")).lower(),
        alpn=_text(told.get(ALPN, b"")),
        unique_id=told.get(UNIQUE_ID, b"").decode("latin-1"),
    )


def _fields(header: bytes, at: int) -> dict[int, bytes]:
    """The additional fields, the first of each type; the checksum is looked at."""
    found: dict[int, bytes] = {}
    while at < len(header):
        value = at + _FIELD
        end = value + int.from_bytes(header[at + 1 : value], "big")
        if end > len(header) or value > len(header):
            raise ProxyProtocolError("an additional field is cut off")
        kind = header[at]
        if kind == CRC32C:
            _check(header, value, end)
        found.setdefault(kind, header[value:end])
        at = end
    if len(found.get(UNIQUE_ID, b"")) > LONGEST_ID:
        raise ProxyProtocolError(f"the unique id is longer than {LONGEST_ID} bytes")
    return found


def _check(header: bytes, at: int, end: int) -> None:
    if end - at != _CHECKSUM:
        raise ProxyProtocolError("the checksum has not 4 bytes")
    zeroed = header[:at] + bytes(_CHECKSUM) + header[end:]
    if crc32c(zeroed) != int.from_bytes(header[at:end], "big"):
        raise ProxyProtocolError("the checksum is wrong")


def _text(value: bytes) -> str:
    return value.decode() if _PRINTABLE.fullmatch(value) else ""
