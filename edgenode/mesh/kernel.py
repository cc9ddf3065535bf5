"""The kernel's WireGuard over generic netlink (linux/wireguard.h), by pyroute2.

The messages are made here and sent by what pyroute2 0.7.7 and 0.9 have alike: the `set` of 0.7
replaces a peer's allowed addresses whatever is asked for, and a packet to the peer is lost then.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from pyroute2 import WireGuard
from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic.wireguard import WG_CMD_SET_DEVICE, WG_GENL_VERSION, wgmsg

from edgenode.config.values import Endpoint
from edgenode.mesh.errors import MeshError
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

REMOVE_ME = 1
REPLACE_ALLOWED = 2
UPDATE_ONLY = 4
"""WGPEER_F_*."""
MOST = 1000
"""Allowed addresses in one message: an attribute ends at 64 KiB (netlink(7)), and one of them takes
40 bytes. As wg(8) does, the rest goes in messages that follow."""
NO_KEY = base64.b64encode(bytes(32)).decode()

Attributes = list[list[Any]]


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
        """One netlink request a change, or a few. Raises MeshError."""
        try:
            with WireGuard() as wireguard:
                for attributes in encode_changes(changes, self._key):
                    wireguard.nlm_request(
                        message(self._name, attributes),
                        msg_type=wireguard.prid,
                        msg_flags=NLM_F_REQUEST | NLM_F_ACK,
                    )
        except (NetlinkError, OSError) as error:
            raise MeshError(
                f"the kernel refuses a change of the WireGuard device {self._name}: {error}; "
                "see whether the listen_port is free"
            ) from None


def message(name: str, attributes: Attributes) -> wgmsg:
    """A request to change the device of this name."""
    made = wgmsg()
    made["cmd"] = WG_CMD_SET_DEVICE
    made["version"] = WG_GENL_VERSION
    made["attrs"] = [["WGDEVICE_A_IFNAME", name], *attributes]
    return made


def encode_changes(changes: Iterable[DeviceChange], key: PrivateKey) -> Iterator[Attributes]:
    """The attributes of WG_CMD_SET_DEVICE beside the device's name, of one message each."""
    for change in changes:
        match change:
            case SetKey():
                yield [["WGDEVICE_A_PRIVATE_KEY", key.reveal_base64()]]
            case SetPort(port):
                yield [["WGDEVICE_A_LISTEN_PORT", port]]
            case RemovePeer(public_key):
                yield _peers([["PUBLIC_KEY", public_key], ["FLAGS", REMOVE_ME]])
            case SetPeer():
                allowed = change.allowed
                yield _peers(_set_peer(change, allowed[:MOST]))
                for at in range(MOST, len(allowed), MOST):
                    more: Attributes = [["PUBLIC_KEY", change.peer.public_key]]
                    more.append(["FLAGS", UPDATE_ONLY])
                    more.append(_allowed(allowed[at : at + MOST]))
                    yield _peers(more)


def _peers(attributes: Attributes) -> Attributes:
    peer = {"attrs": [[f"WGPEER_A_{name}", value] for name, value in attributes]}
    return [["WGDEVICE_A_PEERS", [peer]]]


def _set_peer(change: SetPeer, allowed: Sequence[str]) -> Attributes:
    peer = change.peer
    flags = (UPDATE_ONLY if change.before else 0) | (REPLACE_ALLOWED if change.replaces else 0)
    found: Attributes = [["PUBLIC_KEY", peer.public_key], ["FLAGS", flags]]
    if change.sets_preshared:
        secret = peer.preshared.reveal_base64() if peer.preshared else NO_KEY
        found.append(["PRESHARED_KEY", secret])
    if peer.endpoint is not None:
        host, port = peer.endpoint.address
        found.append(["ENDPOINT", {"addr": host, "port": port}])
    if change.keepalive is not None:
        found.append(["PERSISTENT_KEEPALIVE_INTERVAL", change.keepalive])
    if allowed:
        found.append(_allowed(allowed))
    return found


def _allowed(texts: Iterable[str]) -> list[Any]:
    return ["ALLOWEDIPS", [_range(text) for text in texts]]


def _range(text: str) -> dict[str, Attributes]:
    network = ip_network(text)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    return {
        "attrs": [
            ["WGALLOWEDIP_A_FAMILY", family],
            ["WGALLOWEDIP_A_IPADDR", network.network_address.packed],
            ["WGALLOWEDIP_A_CIDR_MASK", network.prefixlen],
        ]
    }


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
            peers[peer.public_key] = replace(known, allowed=known.allowed | peer.allowed)
    return DeviceState(public_key, port, tuple(peers.values()))


def _peer(attributes: Any) -> PeerState:
    endpoint = attributes.get_attr("WGPEER_A_ENDPOINT")
    handshake = attributes.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME")
    seconds = handshake["tv_sec"] + handshake["tv_nsec"] / 1e9 if handshake else 0.0
    ranges = attributes.get_attr("WGPEER_A_ALLOWEDIPS") or ()
    secret = attributes.get_attr("WGPEER_A_PRESHARED_KEY")
    return PeerState(
        public_key=_key(attributes.get_attr("WGPEER_A_PUBLIC_KEY")),
        endpoint=Endpoint(ip_address(endpoint["addr"]), endpoint["port"]) if endpoint else None,
        allowed=frozenset(ip_network(entry["addr"]) for entry in ranges),
        keepalive=attributes.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") or 0,
        preshared=PresharedKey.present(base64.b64decode(secret)) if secret else None,
        handshake_at=seconds or None,
        rx=attributes.get_attr("WGPEER_A_RX_BYTES") or 0,
        tx=attributes.get_attr("WGPEER_A_TX_BYTES") or 0,
    )


def _key(value: bytes | str) -> str:
    """Base64, which pyroute2 gives as bytes."""
    return value.decode() if isinstance(value, bytes) else value
