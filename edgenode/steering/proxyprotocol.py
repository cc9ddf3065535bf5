"""PROXY protocol version 2: tells a worker who its user is.

Source: "The PROXY protocol", versions 1 & 2, section 2.2 (HAProxy, doc/proxy-protocol.txt).
"""

from __future__ import annotations

from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

_FIXED = 16  # signature, version and command, family and protocol, length
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESSES = {_TCP4: 12, _TCP6: 36}

Endpoint = tuple[str, int]


class ProxyProtocolError(ValueError):
    """The bytes are not a PROXY protocol version 2 header."""


@dataclass(frozen=True, slots=True)
class Header:
    """A decoded header of `size` bytes.

    The addresses are None if the sender speaks for itself (LOCAL), or of a family other than TCP
    over IPv4 or IPv6.
    """

    source: Endpoint | None
    destination: Endpoint | None
    size: int


def encode(source: Endpoint, destination: Endpoint) -> bytes:
    """Return the header for a TCP connection; both addresses of one family.

    Raises OSError if an address is none, and OverflowError if a port does not fit.
    """
    family, kind = (AF_INET6, _TCP6) if ":" in source[0] else (AF_INET, _TCP4)
    return b"".join(
        (
            SIGNATURE,
            bytes((_PROXY, kind, 0, _ADDRESSES[kind])),
            inet_pton(family, source[0].partition("%")[0]),
            inet_pton(family, destination[0].partition("%")[0]),
            source[1].to_bytes(2, "big"),
            destination[1].to_bytes(2, "big"),
        )
    )


def decode(data: bytes) -> Header | None:
    """Decode the header that `data` starts with; None if more bytes are needed.

    Additional fields (TLVs) are counted in the size and skipped. Raises ProxyProtocolError.
    """
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
        raise ProxyProtocolError("no PROXY protocol signature")
    if len(data) < _FIXED:
        return None
    command, kind = data[12], data[13]
    if command not in (_LOCAL, _PROXY):
        raise ProxyProtocolError(f"unknown version or command 0x{command:02x}")
    length = int.from_bytes(data[14:16], "big")
    size = _FIXED + length
    if len(data) < size:
        return None
    if command == _LOCAL or kind not in _ADDRESSES:
        return Header(None, None, size)
    if length < _ADDRESSES[kind]:
        raise ProxyProtocolError(f"{length} bytes are too short for the addresses")
    family, width = (AF_INET, 4) if kind == _TCP4 else (AF_INET6, 16)
    at = _FIXED
    hosts = [inet_ntop(family, data[at + i * width : at + (i + 1) * width]) for i in (0, 1)]
    at += 2 * width
    ports = [int.from_bytes(data[at + i * 2 : at + i * 2 + 2], "big") for i in (0, 1)]
    return Header((hosts[0], ports[0]), (hosts[1], ports[1]), size)
