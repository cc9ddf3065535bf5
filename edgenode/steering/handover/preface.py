"""What is known of a connection by its PROXY header and TLS hello, as plain values.

Most connections have none of it. The hello's reader is made anew, from what is held.
"""

from __future__ import annotations

from typing import Any

from edgenode.steering.connection import Awaited, Connection

_TEXTS = ("sni", "alpn", "unique_id")


def told(connection: Connection) -> dict[str, Any] | None:
    """For a row's `more`; None: nothing."""
    found: dict[str, Any] = {name: value for name in _TEXTS if (value := getattr(connection, name))}
    if connection.peer is not None:
        found["peer"] = list(connection.peer)
    awaited = connection.awaited
    if awaited is not None:
        found["awaited"] = [awaited.listen, awaited.due, awaited.introduced]
    return found or None


def take(connection: Connection, more: dict[str, Any]) -> None:
    """The inverse of `told`."""
    for name in _TEXTS:
        setattr(connection, name, more.get(name, ""))
    if "peer" in more:
        host, port = more["peer"]
        connection.peer = (host, port)
    if "awaited" in more:
        listen, due, introduced = more["awaited"]
        connection.awaited = Awaited(listen)
        connection.awaited.due, connection.awaited.introduced = due, introduced
