"""Which networks overlap, which one holds an address, and which are nobody's to use. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from edgenode.config.errors import KeyPath
from edgenode.config.values import Address, Network

Keyed = tuple[KeyPath, Network]

_UNUSABLE: dict[Network, str] = {
    ip_network(text): what
    for text, what in {
        "0.0.0.0/8": "unspecified",
        "127.0.0.0/8": "loopback",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved or broadcast",
        "::/32": "unspecified, loopback or IPv4 in IPv6",
        "fe80::/10": "link-local",
        "ff00::/8": "multicast",
    }.items()
}
"""RFC 6890 and RFC 4291: no router takes a packet for these to another host. 64:ff9b::/96, by which
a node without IPv4 reaches it (RFC 6052), is none of them."""


def unusable(one: Address | Network) -> str | None:
    """Why an address, or a part of a network, cannot belong to a host of the internet."""
    network = ip_network(one)
    for other, what in _UNUSABLE.items():
        if network.version == other.version and network.overlaps(other):
            return f"{other} is {what}"
    return None


def overlaps(networks: Iterable[Keyed]) -> Iterator[tuple[Keyed, Keyed]]:
    """Pairs that overlap, each network once, the one that comes later in the file second.

    Sorted, a network that overlaps an earlier one lies in the widest that has not ended yet.
    """
    numbered = list(enumerate(networks))
    numbered.sort(key=lambda n: (n[1][1].version, int(n[1][1].network_address), n[1][1].prefixlen))
    cover = None
    for each in numbered:
        network = each[1][1]
        if cover is not None:
            widest = cover[1][1]
            if widest.version == network.version and widest.overlaps(network):
                (_, first), (_, second) = sorted((cover, each))
                yield first, second
                continue
        cover = each


class Holders:
    """Networks that do not overlap, asked which of them holds an address."""

    def __init__(self, networks: Iterable[Keyed]) -> None:
        self._found: dict[tuple[int, int], dict[int, Keyed]] = {}
        for keyed in networks:
            network = keyed[1]
            shift = network.max_prefixlen - network.prefixlen
            same = self._found.setdefault((network.version, shift), {})
            same.setdefault(int(network.network_address) >> shift, keyed)

    def of(self, address: Address) -> Keyed | None:
        """The network that holds an address, with its key."""
        for (version, shift), networks in self._found.items():
            if version == address.version and (keyed := networks.get(int(address) >> shift)):
                return keyed
        return None
