"""What a worker is told of its user before the user's own bytes: our PROXY header. Pure."""

from __future__ import annotations

from secrets import token_hex

from edgenode.steering.connection import Connection
from edgenode.steering.proxyprotocol import (
    ALPN,
    AUTHORITY,
    UNIQUE_ID,
    UNSUMMED,
    encode,
    encode_v1,
    field,
    summed,
)


class Introduction:
    """One a relay worker: ids of connections begin with its own, and are unique among all."""

    def __init__(self) -> None:
        self._run = token_hex(8)

    def header(self, connection: Connection) -> bytes:
        """The header that the connection's service asks for; empty: none."""
        service = connection.route.service
        if service.proxy_protocol == "none":
            return b""
        if service.proxy_protocol == "v1":
            return encode_v1(connection.client, connection.local)
        if not service.proxy_tlvs:
            return encode(connection.client, connection.local)
        told, fields = service.proxy_tlvs, b""
        if "alpn" in told and connection.alpn:
            fields += field(ALPN, connection.alpn.encode())
        if "authority" in told and connection.sni:
            fields += field(AUTHORITY, connection.sni.encode())
        before = len(fields)
        if "crc32c" in told:
            fields += UNSUMMED
        if "unique-id" in told:
            if not connection.unique_id:  # else a proxy in front has given one
                connection.unique_id = f"{self._run}-{connection.number:x}"
            fields += field(UNIQUE_ID, connection.unique_id.encode("latin-1"))
        header = encode(connection.client, connection.local, fields)
        if "crc32c" in told:
            return summed(header, len(header) - len(fields) + before)
        return header
