"""What to change so that the mesh becomes what the configuration says. Pure.

Only differences are changed, since WireGuard ends a peer's session when the peer is set anew:
a plan for a mesh that is right is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface
from math import inf
from types import MappingProxyType

from edgenode.config import Mesh, MeshPeer, meshrules
from edgenode.config.errors import spell
from edgenode.config.values import Endpoint, NamedEndpoint
from edgenode.mesh.errors import PlanError
from edgenode.mesh.keys import PresharedKey
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


@dataclass(frozen=True)
class Known:
    """What the configuration names without holding it, by the peers' names."""

    preshared: Mapping[str, PresharedKey] = field(default_factory=dict)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    """What the names of endpoints stand for."""
    next: frozenset[str] = frozenset()
    """Peers whose addresses are under their next key."""


def desired(mesh: Mesh, public_key: str, known: Known = Known()) -> Desired:
    """The mesh that the configuration asks for, where `public_key` is the node's own.

    Raises PlanError with a sentence that says where the configuration is at fault.
    """
    for problem in meshrules.check(mesh):
        raise PlanError(f"{spell(problem.key)}: {problem.what}")
    for peer in mesh.peers:
        if public_key in (peer.public_key, peer.next_public_key):
            raise PlanError(
                f"mesh peer {peer.name} has the public_key of this node itself: "
                "give each node a key of its own"
            )
    sources = {address.version: address for address in reversed(mesh.addresses)}
    # A family in which the node has no mesh address gets no route: its packets would leave
    # with some other address of the node, perhaps an announced one.
    routes = frozenset(
        Route(network, sources[network.version])
        for peer in mesh.peers
        for network in peer.allowed
        if network.version in sources
    )
    return Desired(
        public_key=public_key,
        listen_port=mesh.listen_port,
        mtu=mesh.mtu,
        addresses=frozenset(ip_interface(address) for address in mesh.addresses),
        routes=routes,
        peers=tuple(peer for configured in mesh.peers for peer in _peers(configured, known)),
    )


def _peers(configured: MeshPeer, known: Known) -> Iterator[Peer]:
    """The peer, and the same one under its next key: the addresses are under one of the two."""
    endpoint = configured.endpoint
    if isinstance(endpoint, NamedEndpoint):
        endpoint = known.endpoints.get(configured.name)
    moved = configured.next_public_key is not None and configured.name in known.next
    peer = Peer(
        public_key=configured.public_key,
        endpoint=endpoint,
        allowed=frozenset() if moved else frozenset(configured.allowed),
        # Whole seconds are what WireGuard knows; 0 means none, so a fraction is not lost.
        keepalive=max(1, round(configured.keepalive)) if configured.keepalive else 0,
        preshared=known.preshared.get(configured.name),
    )
    yield peer
    if configured.next_public_key is not None:
        held = frozenset(configured.allowed) if moved else frozenset()
        yield replace(peer, public_key=configured.next_public_key, allowed=held)


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
    operator changed, or that its name does not stand for any more, is forced on a live peer, since
    a live peer that speaks from another address has moved there. `mtus`: of single
    peers' routes.
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
    owned = frozenset(network for peer in want.peers for network in peer.allowed)
    for peer in want.peers:
        state = present.get(peer.public_key)
        if state is None:
            yield SetPeer(peer)
            continue
        # WireGuard moves an address at once from the peer that had it, which does not have to be
        # set whole for that.
        moving = (state.allowed - peer.allowed) & owned
        before = replace(state, allowed=state.allowed - moving)
        endpoint = _endpoint_to_set(peer, state, ages, configured)
        change = SetPeer(replace(peer, endpoint=endpoint), before)
        if change.differs:
            yield change
    # After the peers that take over their addresses: no packet comes between the two.
    yield from (RemovePeer(key) for key in present if key not in wanted)
    if have.public_key not in (None, want.public_key):
        yield from _greet(peer for peer in want.peers if peer.public_key in present)


def _greet(peers: Iterable[Peer]) -> Iterator[SetPeer]:
    """A keepalive that is switched on sends a packet at once: a handshake, under a new key."""
    for peer in peers:
        if peer.keepalive:
            here = replace(peer, endpoint=None)
            quiet = replace(here, keepalive=0)
            yield SetPeer(quiet, here)
            yield SetPeer(here, quiet)


def _endpoint_to_set(
    peer: Peer,
    state: PeerState,
    ages: Mapping[str, float],
    configured: Mapping[str, Endpoint | None],
) -> Endpoint | None:
    if peer.endpoint is None or peer.endpoint == state.endpoint:
        return None
    alive = ages.get(peer.public_key, inf) <= REJECT_AFTER_TIME
    before = configured.get(peer.public_key)
    changed = before is not None and before != peer.endpoint
    return peer.endpoint if changed or not alive else None


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
