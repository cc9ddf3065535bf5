"""WireGuard's cross-platform UAPI: text over a Unix socket, spoken by wireguard-go.

Protocol: https://www.wireguard.com/xplatform/. The upper half is pure, the lower half the socket.
"""

from __future__ import annotations

import base64
import os
import socket
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

from edgenode.config.values import Endpoint, decode_key
from edgenode.mesh.errors import MeshError, MeshUnavailable
from edgenode.mesh.keys import PresharedKey, PrivateKey
from edgenode.mesh.state import (
    DeviceChange,
    DeviceState,
    PeerState,
    RemovePeer,
    SetKey,
    SetPeer,
    SetPort,
)

SOCKET_DIR = Path("/var/run/wireguard")
GET = "get=1\n\n"
NO_KEY = "00" * 32
MAX_REPLY = 16 * 1024 * 1024
"""Bytes; ten thousand peers with ten ranges each need about 5 MB."""


def socket_path(device: str) -> Path:
    return SOCKET_DIR / f"{device}.sock"


def encode_set(changes: Sequence[DeviceChange], key: PrivateKey) -> str:
    """One `set` operation. The device's own keys have to come before those of peers."""
    lines = ["set=1"]
    for change in sorted(changes, key=lambda c: isinstance(c, RemovePeer | SetPeer)):
        match change:
            case SetKey():
                lines.append(f"private_key={key.reveal_hex()}")
            case SetPort(port):
                lines.append(f"listen_port={port}")
            case RemovePeer(public_key):
                lines += [f"public_key={_to_hex(public_key)}", "remove=true"]
            case SetPeer():
                lines += _peer_lines(change)
    return "\n".join(lines) + "\n\n"


def _peer_lines(change: SetPeer) -> Iterator[str]:
    peer = change.peer
    yield f"public_key={_to_hex(peer.public_key)}"
    if change.before is not None:
        yield "update_only=true"
    if change.sets_preshared:
        yield f"preshared_key={peer.preshared.reveal_hex() if peer.preshared else NO_KEY}"
    if peer.endpoint is not None:
        yield f"endpoint={peer.endpoint}"
    if change.keepalive is not None:
        yield f"persistent_keepalive_interval={change.keepalive}"
    if change.replaces:
        yield "replace_allowed_ips=true"
    yield from (f"allowed_ip={network}" for network in change.allowed)


def parse_get(reply: str) -> DeviceState:
    """The reply to `get`. Of the private key only its public key is kept, and of preshared
    keys what does not print itself.

    Raises ValueError, without the reply, which holds the keys.
    """
    public_key: str | None = None
    port = 0
    errno: str | None = None
    peers: list[dict[str, list[str]]] = []
    for key, value in _pairs(reply):
        if key == "errno":
            errno = value
        elif key == "public_key":
            peers.append({key: [value]})
        elif peers:
            peers[-1].setdefault(key, []).append(value)
        elif key == "private_key":
            raw = bytes.fromhex(value)
            public_key = PrivateKey(raw).public if any(raw) else None
        elif key == "listen_port":
            port = int(value)
    _check_errno(errno)
    return DeviceState(public_key, port, tuple(_peer(fields) for fields in peers))


def parse_set(reply: str) -> None:
    """Raises ValueError with what the device says unless it took the change."""
    _check_errno(dict(_pairs(reply)).get("errno"))


def _pairs(reply: str) -> Iterator[tuple[str, str]]:
    for line in reply.splitlines():
        if line:
            key, _, value = line.partition("=")
            yield key, value


def _check_errno(errno: str | None) -> None:
    if errno is None:
        raise ValueError("the reply has no errno")
    if int(errno) != 0:
        raise ValueError(os.strerror(abs(int(errno))))


def _peer(fields: dict[str, list[str]]) -> PeerState:
    def number(key: str) -> int:
        return int(fields.get(key, ["0"])[-1])

    seconds = number("last_handshake_time_sec") + number("last_handshake_time_nsec") / 1e9
    endpoint = fields.get("endpoint")
    return PeerState(
        public_key=base64.b64encode(bytes.fromhex(fields["public_key"][0])).decode(),
        endpoint=_endpoint(endpoint[-1]) if endpoint else None,
        allowed=frozenset(ip_network(text) for text in fields.get("allowed_ip", [])),
        keepalive=number("persistent_keepalive_interval"),
        preshared=PresharedKey.present(
            bytes.fromhex(fields.get("preshared_key", [NO_KEY])[-1]),
        ),
        handshake_at=seconds or None,
        rx=number("rx_bytes"),
        tx=number("tx_bytes"),
    )


def _endpoint(text: str) -> Endpoint:
    """Not Endpoint.parse: the device also tells scoped addresses (`[fe80::1%eth0]:1`)."""
    host, _, port = text.rpartition(":")
    return Endpoint(ip_address(host.strip("[]")), int(port))


def _to_hex(public_key: str) -> str:
    return decode_key(public_key).hex()


class UapiDevice:
    """The device of a running wireguard-go."""

    def __init__(self, name: str, key: PrivateKey, timeout: float = 5.0) -> None:
        """`timeout`: seconds for one whole exchange."""
        self._name = name
        self._key = key
        self._timeout = timeout

    def current(self) -> DeviceState:
        """Raises MeshError."""
        reply = self._exchange(GET)
        try:
            return parse_get(reply)
        except ValueError as error:
            raise MeshError(f"cannot read {self._name} from wireguard-go: {error}") from None

    def apply(self, changes: Sequence[DeviceChange]) -> None:
        """All changes in one operation. Raises MeshError."""
        reply = self._exchange(encode_set(changes, self._key))
        try:
            parse_set(reply)
        except ValueError as error:
            raise MeshError(
                f"wireguard-go refuses a change of {self._name}: {error}; "
                "see its log, and whether the listen_port is free"
            ) from None

    def _exchange(self, request: str) -> str:
        path = socket_path(self._name)
        deadline = time.monotonic() + self._timeout
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
                stream.settimeout(self._timeout)
                stream.connect(str(path))
                stream.sendall(request.encode())
                return _read_reply(stream, deadline)
        except OSError as error:
            raise MeshUnavailable(
                f"wireguard-go does not answer on {path} ({error.strerror or error}): "
                f"start it with `wireguard-go -f {self._name}`"
            ) from None


def _read_reply(stream: socket.socket, deadline: float) -> str:
    """Up to the empty line that ends a reply. Raises OSError, TimeoutError among them."""
    reply = bytearray()
    while not reply.endswith(b"\n\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        stream.settimeout(left)
        data = stream.recv(65536)
        if not data:
            raise ConnectionError("it closed the connection")
        reply += data
        if len(reply) > MAX_REPLY:
            raise ConnectionError("its reply has no end")
    return reply.decode("ascii", "replace")
