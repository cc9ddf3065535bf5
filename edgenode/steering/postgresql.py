"""PostgreSQL's first message, where a TLS hello is awaited: told apart, and answered. Pure.

A client asks for TLS within the protocol (SSLRequest), and names its host only once the server has
said yes: that is the worker's to say, so nothing is known yet by which a worker could be chosen.
With `sslnegotiation=direct` (PostgreSQL 17) the connection begins with the hello.

Source: PostgreSQL's documentation, "Message Formats" (SSLRequest, StartupMessage, ErrorResponse).
"""

from __future__ import annotations

_CODES = frozenset(
    {
        196608,  # StartupMessage, 3.0
        80877102,  # CancelRequest
        80877103,  # SSLRequest
        80877104,  # GSSENCRequest
    }
)
_HEAD = 8  # length, code
_LONGEST = 10_000  # MAX_STARTUP_PACKET_LENGTH

REASON = (
    "PostgreSQL clients are told apart here by the server name of TLS: connect with"
    " sslnegotiation=direct (libpq 17 or newer)"
)


def begins(data: bytes) -> bool | None:
    """Whether a PostgreSQL client speaks; None: more bytes will tell."""
    if data[:2] != b"\0\0"[: len(data)]:
        return False
    if len(data) < _HEAD:
        return None
    length = int.from_bytes(data[:4], "big")
    return _HEAD <= length <= _LONGEST and int.from_bytes(data[4:_HEAD], "big") in _CODES


def refusal() -> bytes:
    """An ErrorResponse that says what to do: FATAL, protocol_violation."""
    fields = (("S", "FATAL"), ("V", "FATAL"), ("C", "08P01"), ("M", REASON))
    body = b"".join(f"{kind}{value}\0".encode() for kind, value in fields) + b"\0"
    return b"E" + (len(body) + 4).to_bytes(4, "big") + body
