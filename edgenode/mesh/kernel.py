"""The kernel's WireGuard over generic netlink (linux/wireguard.h), by pyroute2.

Works with pyroute2 0.7.7 as with 0.9: 0.7 always replaces a peer's allowed addresses, 0.9 only
when told to, so they are always sent whole and the flag is always set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from pyroute2 import WireGuard
from pyroute2.netlink.exceptions import NetlinkError

from edgenode.config.values import Endpoint
from edgenode.mesh.errors import MeshError
from edgenode.mesh.keys import PrivateKey
from edgenode.mesh.state import (
    DeviceChange,
    DeviceState,
    PeerState,
    RemovePeer,
    SetKey,
    SetPeer,
    SetPort,
)


class KernelDevice:
    """A network device of kind `wireguard`."""

    def __init__(self, name: str, key: PrivateKey) -> None:
        self._name = name
        self._key = key

    def current(self) -> DeviceState:
        """Raises MeshError."""
        try:
            with WireGuard() as wireguard:
                return parse_device(list(wireguard.info(self._name)))
        except (NetlinkError, OSError) as error:
            raise MeshError(f"cannot read the WireGuard device {self._name}: {error}") from None

    def apply(self, changes: Sequence[DeviceChange]) -> None:
        """One netlink request a change. Raises MeshError."""
        try:
            with WireGuard() as wireguard:
                for change in changes:
                    wireguard.set(self._name, **encode_change(change, self._key))
        except (NetlinkError, OSError) as error:
            raise MeshError(
                f"the kernel refuses a change of the WireGuard device {self._name}: {error}; "
                "see whether the listen_port is free"
            ) from None


def encode_change(change: DeviceChange, key: PrivateKey) -> dict[str, Any]:
    """The arguments of pyroute2's `WireGuard.set`."""
    match change:
        case SetKey():
            return {"private_key": key.reveal_base64()}
        case SetPort(port):
            return {"listen_port": port}
        case RemovePeer(public_key):
            return {"peer": {"public_key": public_key, "remove": True}}
        case SetPeer(peer):
            fields: dict[str, Any] = {
                "public_key": peer.public_key,
                "persistent_keepalive": peer.keepalive,
                "replace_allowed_ips": True,
                "allowed_ips": sorted(str(network) for network in peer.allowed),
            }
            if peer.endpoint is not None:
                fields["endpoint_addr"] = str(peer.endpoint.host)
                fields["endpoint_port"] = peer.endpoint.port
            return {"peer": fields}


def parse_device(messages: Iterable[Any]) -> DeviceState:
    """The messages of one dump; a peer with many allowed addresses goes on in the next one."""
    public_key: str | None = None
    port = 0
    peers: dict[str, PeerState] = {}
    for message in messages:
        raw = message.get_attr("WGDEVICE_A_PUBLIC_KEY")
        public_key = _key(raw) if raw else public_key
        port = message.get_attr("WGDEVICE_A_LISTEN_PORT") or port
        for attributes in message.get_attr("WGDEVICE_A_PEERS") or ():
            peer = _peer(attributes)
            known = peers.get(peer.public_key, peer)
            peers[peer.public_key] = PeerState(
                known.public_key,
                known.endpoint,
                known.allowed | peer.allowed,
                known.keepalive,
                known.handshake_at,
                known.rx,
                known.tx,
            )
    return DeviceState(public_key, port, tuple(peers.values()))


def _peer(attributes: Any) -> PeerState:
    endpoint = attributes.get_attr("WGPEER_A_ENDPOINT")
    handshake = attributes.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME")
    seconds = handshake["tv_sec"] + handshake["tv_nsec"] / 1e9 if handshake else 0.0
    ranges = attributes.get_attr("WGPEER_A_ALLOWEDIPS") or ()
    return PeerState(
        public_key=_key(attributes.get_attr("WGPEER_A_PUBLIC_KEY")),
        endpoint=Endpoint(ip_address(endpoint["addr"]), endpoint["port"]) if endpoint else None,
        allowed=frozenset(ip_network(entry["addr"]) for entry in ranges),
        keepalive=attributes.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") or 0,
        handshake_at=seconds or None,
        rx=attributes.get_attr("WGPEER_A_RX_BYTES") or 0,
        tx=attributes.get_attr("WGPEER_A_TX_BYTES") or 0,
    )


def _key(value: bytes | str) -> str:
    """Base64, which pyroute2 gives as bytes."""
    return value.decode() if isinstance(value, bytes) else value
