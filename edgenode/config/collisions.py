"""Rules on addresses: which cannot be used, and which would cut each other off. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from edgenode.config.errors import KeyPath, Problem, spell
from edgenode.config.networks import Holders, Keyed, overlaps, unusable
from edgenode.config.schema import Config, Neighbor
from edgenode.config.values import Address, Endpoint

_RESERVED_DEVICES = {"lo", "all", "default"}
"""`all` and `default` are no devices but directories of /proc/sys/net."""


def check(config: Config) -> Iterator[Problem]:
    """What is wrong with the addresses and devices of a configuration."""
    yield from _prefixes(config)
    yield from _neighbors(config)
    yield from _cut_off(config)
    yield from _devices(config)
    yield from _metrics(config)


def _prefixes(config: Config) -> Iterator[Problem]:
    for key, prefix in _announced(config):
        if prefix.prefixlen == 0:
            yield Problem(key, "a default route is nobody's anycast prefix")
        elif why := unusable(prefix):
            yield Problem(key, f"{prefix} cannot be announced: {why}")


def _neighbors(config: Config) -> Iterator[Problem]:
    if why := unusable(config.bgp.router_id):
        what = f"{config.bgp.router_id} is no router's: {why}; write an IPv4 address of this node"
        yield Problem(("bgp", "router_id"), what)
    for n, neighbor in enumerate(config.bgp.neighbors):
        yield from _neighbor(neighbor, ("bgp", "neighbors", n))


def _neighbor(neighbor: Neighbor, key: KeyPath) -> Iterator[Problem]:
    if neighbor.address.version == 6 and neighbor.address.is_link_local:
        what = (
            f"{neighbor.address} cannot be a neighbor's: it is link-local; give both ends of the "
            "link a global or a unique-local address (fc00::/7)"
        )
        yield Problem((*key, "address"), what)
    elif why := unusable(neighbor.address):
        yield Problem((*key, "address"), f"{neighbor.address} cannot be a neighbor's: {why}")
    source = neighbor.source
    if source is None:
        return
    if source.version != neighbor.address.version:
        yield Problem((*key, "source"), f"{source} is of another family")
    elif source == neighbor.address:
        yield Problem((*key, "source"), f"{source} is the neighbor's own address")
    elif why := unusable(source):
        yield Problem((*key, "source"), f"{source} cannot be ours: {why}")


def _cut_off(config: Config) -> Iterator[Problem]:
    """Each announced prefix has a blackhole route, each allowed network a route into the mesh."""
    peers = config.mesh.peers if config.mesh else ()
    allowed: list[Keyed] = [
        (("mesh", "peers", p, "allowed", a), network)
        for p, peer in enumerate(peers)
        for a, network in enumerate(peer.allowed)
    ]
    prefixes = [*_announced(config)]
    for (first_key, first), (key, second) in overlaps([*prefixes, *allowed]):
        if first_key[0] != key[0]:  # of one kind: other rules tell those
            what = f"{second} overlaps the anycast prefix {first} ({spell(first_key)})"
            why = "users' addresses are not in the mesh; name the peer's own alone"
            yield Problem(key, f"{what}: {why}", depends=first_key)
    announced = Holders(prefixes)
    mesh = Holders(allowed)
    for key, address, what, outside in _others(config):
        if held := announced.of(address):
            text = (
                f"{held[1]} holds {what} {address} ({spell(key)}): its blackhole would cut it off"
            )
            yield Problem(held[0], text, depends=key)
        if outside and (held := mesh.of(address)):
            text = f"{held[1]} holds {what} {address} ({spell(key)}), which is not in the mesh"
            yield Problem(held[0], text, depends=key)


def _others(config: Config) -> Iterator[tuple[KeyPath, Address, str, bool]]:
    """Addresses that must stay reachable, and which must not be in the mesh: of the endpoints,
    `meshrules` says that."""
    for n, neighbor in enumerate(config.bgp.neighbors):
        yield ("bgp", "neighbors", n, "address"), neighbor.address, "the neighbor's address", True
    for r, region in enumerate(config.regions):
        for w, worker in enumerate(region.workers):
            for a, address in enumerate(worker.addresses):
                yield ("regions", r, "workers", w, "addresses", a), address, "the worker", False
    if config.mesh is None:
        return
    for a, address in enumerate(config.mesh.addresses):
        yield ("mesh", "addresses", a), address, "our own mesh address", False
    for p, peer in enumerate(config.mesh.peers):
        if isinstance(peer.endpoint, Endpoint):
            yield ("mesh", "peers", p, "endpoint"), peer.endpoint.host, "the endpoint", False


def _announced(config: Config) -> Iterator[Keyed]:
    for g, group in enumerate(config.groups):
        for p, prefix in enumerate(group.prefixes):
            yield ("groups", g, "prefixes", p), prefix


def _devices(config: Config) -> Iterator[Problem]:
    own = {config.lifeline.device: "the lifeline's"}
    if config.lifeline.device in _RESERVED_DEVICES:
        yield Problem(("lifeline", "device"), f'"{config.lifeline.device}" cannot be made')
    if config.mesh:
        if config.mesh.device in _RESERVED_DEVICES:
            yield Problem(("mesh", "device"), f'"{config.mesh.device}" cannot be made')
        if config.mesh.device == config.lifeline.device:
            yield Problem(("mesh", "device"), "is the lifeline's device too")
        own.setdefault(config.mesh.device, "the mesh's")
    for g, group in enumerate(config.groups):
        key: KeyPath = ("groups", g, "address_device")
        if group.address_device in _RESERVED_DEVICES - {"lo"}:
            yield Problem(key, "is no device")
        elif whose := own.get(group.address_device):
            yield Problem(key, f"is {whose} device, which comes and goes: addresses go with it")


def _metrics(config: Config) -> Iterator[Problem]:
    if config.metrics is None:
        return
    own = config.metrics.listen
    for service in config.services:
        for endpoint in service.listen:
            # A socket on [::] takes IPv4 too.
            everywhere = own.host.is_unspecified and (
                own.host.version == 6 or endpoint.host.version == 4
            )
            if endpoint.port == own.port and (everywhere or endpoint.host == own.host):
                what = f"service {service.name} listens there already ({endpoint})"
                yield Problem(("metrics", "listen"), what, depends=("services",))
                return
