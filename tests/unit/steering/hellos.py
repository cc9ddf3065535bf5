"""TLS ClientHellos made by hand, part by part."""

from __future__ import annotations

from collections.abc import Iterable

GREASE = 0x0A0A  # RFC 8701
SERVER_NAME, ALPN, KEY_SHARE, ECH = 0, 16, 51, 0xFE0D


def vector(data: bytes, size: int) -> bytes:
    return len(data).to_bytes(size, "big") + data


def server_name(*names: bytes, kind: int = 0) -> bytes:
    return vector(b"".join(bytes((kind,)) + vector(name, 2) for name in names), 2)


def alpn(*protocols: bytes) -> bytes:
    return vector(b"".join(vector(protocol, 1) for protocol in protocols), 2)


def key_share(size: int) -> bytes:
    """One key; X25519MLKEM768 (0x11ec) has 1,216 bytes."""
    return vector(b"\x11\xec" + vector(bytes(size), 2), 2)


def body(extensions: Iterable[tuple[int, bytes]] | None) -> bytes:
    head = (
        b"\x03\x03" + bytes(32) + vector(bytes(32), 1) + vector(b"\x0a\x0a\x13\x01", 2) + b"\x01\0"
    )
    if extensions is None:
        return head
    listed = (kind.to_bytes(2, "big") + vector(data, 2) for kind, data in extensions)
    return head + vector(b"".join(listed), 2)


def records(message: bytes, size: int = 2**14) -> bytes:
    """The message in records of at most so many bytes."""
    return b"".join(
        b"\x16\x03\x01" + vector(message[at : at + size], 2) for at in range(0, len(message), size)
    )


def message(content: bytes) -> bytes:
    return b"\x01" + vector(content, 3)


def hello(
    name: str = "", protocols: Iterable[str] = (), key: int = 32, record: int = 2**14
) -> bytes:
    """What a client sends first; `key`: bytes of its key share."""
    extensions = [(GREASE, b""), (KEY_SHARE, key_share(key))]
    if name:
        extensions.append((SERVER_NAME, server_name(name.encode())))
    if offered := [protocol.encode() for protocol in protocols]:
        extensions.append((ALPN, alpn(*offered)))
    extensions.append((0x1A1A, b"\0"))
    return records(message(body(extensions)), record)
