"""Rules on [mesh]: what WireGuard could not do, or would do to the node's own traffic. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from edgenode.config.errors import KeyPath, Problem, duplicates, spell
from edgenode.config.networks import Holders, Keyed, overlaps, unusable
from edgenode.config.schema import Mesh
from edgenode.config.values import Address, Endpoint, Network, decode_key

MOST = 1 / 64
"""Of all addresses of a family: what peers may be allowed together. All of RFC 1918 is 0.4 %, and
fc00::/7 (RFC 4193) half of this; what is more is a default route in pieces."""
_LINK_LOCAL = IPv4Network("169.254.0.0/16")
"""RFC 3927. A neighbor or an endpoint may be there, on a link of its own; nothing in a mesh."""


def check(mesh: Mesh) -> Iterator[Problem]:
    """What is wrong with a mesh by itself."""
    families = [address.version for address in mesh.addresses]
    if len(set(families)) != len(families):
        yield Problem(("mesh", "addresses"), "one address a family")
    names: list[tuple[KeyPath, object]] = [
        (("mesh", "peers", p, "name"), peer.name) for p, peer in enumerate(mesh.peers)
    ]
    yield from duplicates("peer's name", names)
    yield from _paths(mesh)
    yield from _keys(mesh)
    allowed: list[Keyed] = [
        (("mesh", "peers", p, "allowed", a), network)
        for p, peer in enumerate(mesh.peers)
        for a, network in enumerate(peer.allowed)
    ]
    everything = [*_everything(allowed)]
    yield from everything or _nobodys(mesh, allowed)
    yield from _endpoints(mesh)
    yield from _ranges(mesh, allowed)


def _paths(mesh: Mesh) -> Iterator[Problem]:
    paths = mesh.paths
    if paths.min_mtu > mesh.mtu:
        what = f"is more than the mesh's own MTU of {mesh.mtu}: no packet would be of use"
        yield Problem(("mesh", "paths", "min_mtu"), what)
    if paths.timeout > paths.interval:
        what = f"{paths.timeout:g} s is longer than the interval of {paths.interval:g} s"
        yield Problem(("mesh", "paths", "timeout"), what)


def _keys(mesh: Mesh) -> Iterator[Problem]:
    keys: list[tuple[KeyPath, object]] = []
    for p, peer in enumerate(mesh.peers):
        for field in ("public_key", "next_public_key"):
            text = getattr(peer, field)
            if text is None:
                continue
            key: KeyPath = ("mesh", "peers", p, field)
            keys.append((key, text))
            what = "is no WireGuard key: write what `edgenode mesh key` prints on that node"
            try:
                if not any(decode_key(text)):  # no session comes of it (RFC 7748, section 6.1)
                    yield Problem(key, f"{what} (all its bytes are zero)")
            except ValueError as error:
                yield Problem(key, f"{what} ({error})")
    yield from duplicates("peer's public_key", keys)


def _nobodys(mesh: Mesh, allowed: list[Keyed]) -> Iterator[Problem]:
    """Addresses that no node of a mesh can have."""
    for a, address in enumerate(mesh.addresses):
        if why := _no_mesh_address(address):
            yield Problem(("mesh", "addresses", a), f"{address} cannot be a mesh address: {why}")
    for key, network in allowed:
        if why := _no_mesh_address(network):
            yield Problem(key, f"{network} cannot be behind a peer: {why}")


def _no_mesh_address(one: Address | Network) -> str | None:
    network = ip_network(one)
    if isinstance(network, IPv4Network) and network.overlaps(_LINK_LOCAL):
        return f"{_LINK_LOCAL} is link-local"
    return unusable(network)


def _endpoints(mesh: Mesh) -> Iterator[Problem]:
    """Where no other node can be reached, or two peers would be one node."""
    endpoints: list[tuple[KeyPath, object]] = []
    for p, peer in enumerate(mesh.peers):
        key: KeyPath = ("mesh", "peers", p, "endpoint")
        endpoint = peer.endpoint
        if endpoint is None:
            continue
        endpoints.append((key, endpoint))
        if not isinstance(endpoint, Endpoint):
            continue
        # A relay of the operator's own may carry WireGuard from loopback, as udp2raw does.
        if not endpoint.host.is_loopback and (why := unusable(endpoint.host)):
            yield Problem(key, f"{endpoint.host} cannot be another node's: {why}")
        elif endpoint.host in mesh.addresses:
            yield Problem(key, f"{endpoint.host} is our own mesh address")
    yield from duplicates("peer's endpoint", endpoints)


def _ranges(mesh: Mesh, allowed: list[Keyed]) -> Iterator[Problem]:
    """WireGuard sends an address to one peer only, and never to the node itself."""
    for key, network in allowed:
        for address in mesh.addresses:
            if address.version == network.version and address in network:
                yield Problem(key, f"holds our own mesh address {address}")
    for (first_key, first), (key, second) in overlaps(allowed):
        what = f"{second} overlaps {first} of {spell(first_key)}"
        yield Problem(key, f"{what}: an address is one peer's only; make them disjoint")
    holders = Holders(allowed)
    for p, peer in enumerate(mesh.peers):
        endpoint = peer.endpoint
        if isinstance(endpoint, Endpoint) and (held := holders.of(endpoint.host)):
            place: KeyPath = ("mesh", "peers", p, "endpoint")
            text = f"{held[1]} holds the endpoint {endpoint.host} ({spell(place)})"
            yield Problem(held[0], f"{text}: the tunnel would run through itself", depends=place)


def _everything(allowed: list[Keyed]) -> Iterator[Problem]:
    """Routes follow allowed addresses: they must not be a default route, in pieces neither."""
    for version in (4, 6):
        family = [(key, network) for key, network in allowed if network.version == version]
        if not family:
            continue
        key, widest = min(family, key=lambda keyed: keyed[1].prefixlen)
        share = _share(network for _, network in family)
        why = "it would take the node's own traffic; name the peers' addresses"
        if widest.prefixlen == 0:
            yield Problem(key, f"a default route through the mesh is refused: {why}")
        elif share > MOST:
            what = f"peers are allowed {share:.1%} of all IPv{version} addresses together"
            yield Problem(key, f"{what}: as good as a default route, and {why}")


def _share(networks: Iterable[IPv4Network | IPv6Network]) -> float:
    """Of the family that the networks are of; overlaps count once."""
    merged = collapse_addresses(networks)  # type: ignore[type-var]
    return sum(2.0**-network.prefixlen for network in merged)
