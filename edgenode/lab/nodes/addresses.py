"""Addresses and default routes of a node's links, as batches for `ip`."""

from __future__ import annotations

from edgenode.lab.topology import Attached, Node, Topology, Transit

# No duplicate-address detection (an address is usable at once), no router advertisements,
# no reverse-path filter (anycast answers need not leave where the request came in).
SYSCTLS: dict[str, str | int] = {
    "net.ipv6.conf.all.disable_ipv6": 0,
    "net.ipv6.conf.default.disable_ipv6": 0,
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.default.dad_transmits": 0,
    "net.ipv6.conf.all.accept_ra": 0,
    "net.ipv6.conf.default.accept_ra": 0,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    # Control's echoes through the mesh; as on a node (images/node).
    "net.ipv4.ping_group_range": "0 2147483647",
    # What one connection learned about a path must not colour the next measurement.
    "net.ipv4.tcp_no_metrics_save": 1,
}


def links(topology: Topology, node: Node) -> list[str]:
    """Addresses of the node's interfaces, and where it sends what it does not know."""
    commands = ["link set lo up"]
    for link in topology.links_of(node.name):
        end = link.end(node.name)
        commands += [
            f"addr add {end.ipv4} dev {end.interface}",
            f"addr add {end.ipv6} dev {end.interface} nodad",
            f"link set {end.interface} up",
        ]
    if isinstance(node, Transit):
        commands += [f"addr add {node.ipv4}/32 dev lo", f"addr add {node.ipv6}/128 dev lo"]
    if isinstance(node, Attached):
        link = topology.uplink(node.name)
        gateway = link.other(node.name)
        device = link.end(node.name).interface
        commands += [
            f"route add default via {gateway.ipv4.ip} dev {device}",
            f"route add ::/0 via {gateway.ipv6.ip} dev {device}",
        ]
    return commands
