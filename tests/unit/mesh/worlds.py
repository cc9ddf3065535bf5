"""Meshes for tests, and a model of what a kernel with WireGuard does with changes."""

import base64
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import strategies as st

from edgenode.config.values import Endpoint
from edgenode.mesh.keys import PresharedKey
from edgenode.mesh.state import (
    AddAddress,
    AddRoute,
    Change,
    Current,
    Desired,
    DeviceState,
    LinkState,
    Peer,
    PeerState,
    RemoveAddress,
    RemovePeer,
    RemoveRoute,
    ResizeRoute,
    Route,
    SetKey,
    SetMtu,
    SetPeer,
    SetPort,
    SetUp,
)


def public_key(seed: int) -> str:
    return base64.b64encode(bytes([seed]) * 32).decode()


EMPTY = Current(DeviceState(None, 0, ()), LinkState(1420, False, frozenset(), frozenset()))
RANGES = [ip_network(f"198.51.100.{i * 8}/29") for i in range(8)] + [
    ip_network(f"2001:db8:{i}::/64") for i in range(8)
]
OWN = [ip_interface("198.51.100.193"), ip_interface("2001:db8:ffff:1::1")]
ENDPOINTS = [Endpoint(ip_address(f"192.0.2.{i}"), 51820) for i in range(1, 5)]


@st.composite
def meshes(draw: st.DrawFn) -> Desired:
    """A desired mesh in which the ranges are dealt out to the peers."""
    keys = draw(st.lists(st.integers(1, 6), unique=True, max_size=5))
    owners = draw(st.lists(st.sampled_from(keys), min_size=16, max_size=16)) if keys else []
    peers = tuple(
        Peer(
            public_key(key),
            draw(st.none() | st.sampled_from(ENDPOINTS)),
            frozenset(r for r, owner in zip(RANGES, owners, strict=True) if owner == key),
            draw(st.sampled_from([0, 15, 25])),
            draw(st.sampled_from([None, PresharedKey(b"\1" * 32), PresharedKey(b"\2" * 32)])),
        )
        for key in keys
    )
    addresses = frozenset(draw(st.lists(st.sampled_from(OWN), unique=True)))
    sources = {a.version: a.ip for a in addresses}
    return Desired(
        public_key=public_key(draw(st.integers(100, 101))),
        listen_port=draw(st.sampled_from([51820, 51821])),
        mtu=draw(st.sampled_from([1380, 1420])),
        addresses=addresses,
        routes=frozenset(
            Route(r, sources[r.version]) for p in peers for r in p.allowed if r.version in sources
        ),
        peers=peers,
    )


def apply(want: Desired, have: Current, changes: tuple[Change, ...]) -> Current:
    """What becomes of `have`; fails the test where a kernel would refuse a change."""
    for change in changes:
        have = Current(_device(want, have.device, change), _link(have.link, change))
    return have


def _device(want: Desired, device: DeviceState, change: Change) -> DeviceState:
    peers = {peer.public_key: peer for peer in device.peers}
    match change:
        case SetKey():
            return replace(device, public_key=want.public_key)
        case SetPort(port):
            return replace(device, listen_port=port)
        case RemovePeer(key):
            del peers[key]
        case SetPeer(peer, before):
            old = peers.get(peer.public_key)
            assert (before is None) == (old is None)
            given = frozenset(ip_network(text) for text in change.allowed)
            # A range has one owner: whoever got it last (cryptokey routing).
            for key, other in peers.items():
                peers[key] = replace(other, allowed=other.allowed - given)
            kept = frozenset() if old is None or change.replaces else peers[peer.public_key].allowed
            endpoint = peer.endpoint or (old.endpoint if old else None)
            peers[peer.public_key] = PeerState(
                peer.public_key,
                endpoint,
                given | kept,
                change.keepalive if change.keepalive is not None else old.keepalive if old else 0,
                peer.preshared if change.sets_preshared else old.preshared if old else None,
                handshake_at=old.handshake_at if old else None,
            )
    return replace(device, peers=tuple(peers.values()))


def _link(link: LinkState, change: Change) -> LinkState:
    match change:
        case SetMtu(mtu):
            return replace(link, mtu=mtu)
        case SetUp():
            return replace(link, up=True)
        case AddAddress(address):
            assert address not in link.addresses
            return replace(link, addresses=link.addresses | {address})
        case RemoveAddress(address):
            kept = frozenset(r for r in link.routes if r.source != address.ip)
            return replace(link, addresses=link.addresses - {address}, routes=kept)
        case AddRoute(route):
            assert link.up
            assert route.source in {a.ip for a in link.addresses}
            assert route.to not in {r.to for r in link.routes}
            return replace(link, routes=link.routes | {route})
        case ResizeRoute(route):
            old = {r for r in link.routes if (r.to, r.source) == (route.to, route.source)}
            assert len(old) == 1
            return replace(link, routes=link.routes - old | {route})
        case RemoveRoute(route):
            assert route in link.routes
            return replace(link, routes=link.routes - {route})
    return link
