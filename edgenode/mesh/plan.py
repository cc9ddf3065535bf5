"""What to change so that the mesh becomes what the configuration says. Pure.

Only differences are changed, since WireGuard ends a peer's session when the peer is set anew:
a plan for a mesh that is right is empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_interface
from itertools import combinations
from math import inf
from types import MappingProxyType

from edgenode.config import Mesh
from edgenode.config.values import Endpoint
from edgenode.mesh.errors import PlanError
from edgenode.mesh.keys import decode
from edgenode.mesh.routes import Mtus, RouteChanges, changes
from edgenode.mesh.state import (
    AddAddress,
    AddRoute,
    Current,
    Desired,
    DeviceChange,
    DeviceState,
    LinkChange,
    LinkState,
    Peer,
    PeerState,
    Plan,
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

NO_MTUS: Mtus = MappingProxyType({})

REJECT_AFTER_TIME = 180.0
"""Seconds after which WireGuard itself drops a session (whitepaper, section 6.1)."""


def desired(mesh: Mesh, public_key: str) -> Desired:
    """The mesh that the configuration asks for, where `public_key` is the node's own.

    Raises PlanError with a sentence that names the peers at fault.
    """
    _refuse_keys(mesh, public_key)
    _refuse_ranges(mesh)
    sources = {address.version: address for address in reversed(mesh.addresses)}
    peers = tuple(
        Peer(
            public_key=peer.public_key,
            endpoint=peer.endpoint,
            allowed=frozenset(peer.allowed),
            # Whole seconds are what WireGuard knows; 0 means none, so a fraction is not lost.
            keepalive=max(1, round(peer.keepalive)) if peer.keepalive else 0,
        )
        for peer in mesh.peers
    )
    # A family in which the node has no mesh address gets no route: its packets would leave
    # with some other address of the node, perhaps an announced one.
    routes = frozenset(
        Route(network, sources[network.version])
        for peer in peers
        for network in peer.allowed
        if network.version in sources
    )
    return Desired(
        public_key=public_key,
        listen_port=mesh.listen_port,
        mtu=mesh.mtu,
        addresses=frozenset(ip_interface(address) for address in mesh.addresses),
        routes=routes,
        peers=peers,
    )


def _refuse_keys(mesh: Mesh, public_key: str) -> None:
    seen = {public_key: "this node itself"}
    for peer in mesh.peers:
        try:
            decode(peer.public_key)
        except ValueError as error:
            raise PlanError(f"the public_key of mesh peer {peer.name} is wrong: {error}") from None
        if peer.public_key in seen:
            raise PlanError(
                f"mesh peer {peer.name} has the public_key of {seen[peer.public_key]}: "
                "give each node a key of its own"
            )
        seen[peer.public_key] = f"mesh peer {peer.name}"


def _refuse_ranges(mesh: Mesh) -> None:
    ranges = [(peer.name, network) for peer in mesh.peers for network in peer.allowed]
    for name, network in ranges:
        if network.prefixlen == 0:
            raise PlanError(
                f"mesh peer {name} allows {network}: a default route through the mesh "
                "would take the node's own traffic; name the peer's addresses"
            )
    for (one, left), (other, right) in combinations(ranges, 2):
        if one != other and left.version == right.version and left.overlaps(right):
            raise PlanError(
                f"mesh peers {one} ({left}) and {other} ({right}) overlap: "
                "WireGuard sends an address to one peer only; make the ranges disjoint"
            )
    for peer in mesh.peers:
        for name, network in ranges:
            if peer.endpoint and peer.endpoint.host in network:
                raise PlanError(
                    f"the endpoint {peer.endpoint} of mesh peer {peer.name} lies in {network} "
                    f"of mesh peer {name}: the tunnel would run through itself"
                )


def plan(
    want: Desired,
    have: Current,
    ages: Mapping[str, float],
    configured: Mapping[str, Endpoint | None] | None = None,
    mtus: Mtus = NO_MTUS,
) -> Plan:
    """The changes from `have` to `want`.

    `ages` has the seconds since each peer's handshake, by public key. `configured` has the
    endpoints, by public key, that were wanted when we last looked: only an endpoint that the
    operator changed is forced on a live peer, since a live peer that speaks from another address
    has moved there. `mtus`: of single peers' routes.
    """
    routes = changes(want, have.link, mtus)
    return Plan(
        leaving=tuple(RemoveRoute(route) for route in routes.leaving),
        device=tuple(_device_changes(want, have.device, ages, configured or {})),
        link=tuple(_link_changes(want, have.link, routes)),
    )


def _device_changes(
    want: Desired,
    have: DeviceState,
    ages: Mapping[str, float],
    configured: Mapping[str, Endpoint | None],
) -> Iterator[DeviceChange]:
    if have.public_key != want.public_key:
        yield SetKey()
    if have.listen_port != want.listen_port:
        yield SetPort(want.listen_port)
    wanted = {peer.public_key for peer in want.peers}
    present = {peer.public_key: peer for peer in have.peers}
    yield from (RemovePeer(key) for key in present if key not in wanted)
    for peer in want.peers:
        state = present.get(peer.public_key)
        if state is None:
            yield SetPeer(peer)
            continue
        endpoint = _endpoint_to_set(peer, state, ages, configured)
        same = state.allowed == peer.allowed and state.keepalive == peer.keepalive
        if endpoint is not None or not same:
            yield SetPeer(Peer(peer.public_key, endpoint, peer.allowed, peer.keepalive))


def _endpoint_to_set(
    peer: Peer,
    state: PeerState,
    ages: Mapping[str, float],
    configured: Mapping[str, Endpoint | None],
) -> Endpoint | None:
    if peer.endpoint is None or peer.endpoint == state.endpoint:
        return None
    alive = ages.get(peer.public_key, inf) <= REJECT_AFTER_TIME
    changed_by_operator = configured.get(peer.public_key, peer.endpoint) != peer.endpoint
    return peer.endpoint if changed_by_operator or not alive else None


def _link_changes(want: Desired, have: LinkState, routes: RouteChanges) -> Iterator[LinkChange]:
    addresses = {a for a in have.addresses if not a.is_link_local}
    if have.mtu != want.mtu:
        yield SetMtu(want.mtu)
    yield from (AddAddress(a) for a in sorted(want.addresses - addresses, key=str))
    if not have.up:
        yield SetUp()
    yield from (AddRoute(route) for route in routes.new)
    yield from (ResizeRoute(route) for route in routes.resized)
    # Last, as the kernel drops routes whose preferred source goes away.
    yield from (RemoveAddress(a) for a in sorted(addresses - want.addresses, key=str))
