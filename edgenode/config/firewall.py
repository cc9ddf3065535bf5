"""Rules on the firewall's section: what would lock the operator out, or let everybody in. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address, ip_address

from edgenode.config.errors import KeyPath, Problem
from edgenode.config.schema import Config, Firewall
from edgenode.config.values import Network

SSH = 22
BGP = 179


def check(config: Config) -> Iterator[Problem]:
    """What is wrong with [firewall] and with the groups' ports."""
    if config.firewall:
        yield from _management(config, config.firewall)
        if not config.firewall.include:  # rules of the operator's own may let users in
            yield from _closed(config)
    yield from _ports(config)


def _management(config: Config, firewall: Firewall) -> Iterator[Problem]:
    prefixes = [prefix for group in config.groups for prefix in group.prefixes]
    peers = config.mesh.peers if config.mesh else ()
    allowed = [network for peer in peers for network in peer.allowed]
    for m, network in enumerate(firewall.management):
        key: KeyPath = ("firewall", "management", m)
        if network.prefixlen == 0:
            # Whoever means it says it where it can be read as what it is.
            yield Problem(
                key,
                f"{network} is everybody: name the networks that operators come from (SSH that "
                "is open to all is a rule of its own in firewall.include)",
            )
        elif any(_within(network, prefix) for prefix in prefixes):
            what = f"{network} is anycast: nobody but this node may come from there"
            yield Problem(key, what, depends=("groups",))
        elif any(_within(network, other) for other in allowed):
            what = f"{network} is behind the mesh, where no SSH is let in: name other networks"
            yield Problem(key, what, depends=("mesh", "peers"))


def lets_in(management: Iterable[Network], client: str) -> bool:
    """Whether an SSH client, as sshd writes its address, comes from one of the networks."""
    try:
        address = ip_address(client.split("%")[0])
    except ValueError:
        return True  # sshd says UNKNOWN where it does not know
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in net for net in management if net.version == address.version)


def _closed(config: Config) -> Iterator[Problem]:
    """Checks come from the node itself: they are well where no user is let in."""
    for g, group in enumerate(config.groups):
        listens = any(service.listen for service in config.services_of(group.name))
        if group.addresses and not group.ports and not listens:
            yield Problem(
                ("groups", g, "ports"),
                f"the firewall would let nobody in to group {group.name}, which is announced all "
                'the same: name what is served there (ports = ["tcp/443"])',
                depends=("services",),
            )


def _within(one: Network, other: Network) -> bool:
    return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]


def _ports(config: Config) -> Iterator[Problem]:
    """A single port is meant; a range may open what nobody thought of: SSH listens everywhere."""
    closed = {SSH: "SSH", BGP: "BGP"}
    if config.metrics:
        closed[config.metrics.listen.port] = "metrics"
    for g, group in enumerate(config.groups):
        for p, text in enumerate(group.ports):
            protocol, _, numbers = text.partition("/")
            first, _, last = numbers.partition("-")
            if protocol != "tcp" or not last:
                continue
            for port, what in closed.items():
                if int(first) <= port <= int(last):
                    yield Problem(
                        ("groups", g, "ports", p),
                        f'"{text}" would open {what} ({port}) to everybody: write ranges '
                        "without it",
                    )
