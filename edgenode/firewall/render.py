"""From the configuration to a nftables ruleset (nft(8)). Pure.

Default drop, and only what follows from the configuration is let in. Anycast and mesh packets are
not tracked: a connection table that is full would drop users, and a flood fills it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgenode.config import Config
from edgenode.config.schema import Firewall, Neighbor
from edgenode.config.values import Address

SSH = 22

_ICMP = """\
    # RFC 4890, and its like for IPv4: errors always (without packet-too-big large answers hang),
    # echo within reason, neighbors and routers only from the link itself.
    ip protocol icmp icmp type { destination-unreachable, time-exceeded, parameter-problem } accept
    ip protocol icmp icmp type echo-request limit rate 200/second burst 50 packets accept
    ip protocol icmp icmp type echo-reply accept
    icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept
    icmpv6 type echo-request limit rate 200/second burst 50 packets accept
    icmpv6 type echo-reply accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, nd-redirect } ip6 hoplimit 255 accept
    icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } ip6 saddr fe80::/10 accept
    # Answers of a DHCP server, where a card asks for its address.
    udp sport 67 udp dport 68 accept
    ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept
"""  # noqa: E501


def render(config: Config, firewall: Firewall, operator: str = "") -> str:
    """The table `inet edgenode`, replaced as a whole in one transaction; others' tables stay.

    `operator`: rules of the operator's own, for what is not let in otherwise.
    """
    return "".join(f"{line}\n" for line in _lines(config, firewall, operator))


def _lines(config: Config, firewall: Firewall, operator: str) -> Iterator[str]:
    yield f"# Firewall of edge node {config.node.name}, made by `edgenode firewall apply`."
    yield "table inet edgenode"
    yield "delete table inet edgenode"
    yield "table inet edgenode {"
    yield from _sets(config, firewall)
    yield from _untracked(config)
    yield "  chain input {"
    yield "    type filter hook input priority filter; policy drop;"
    yield "    iif lo accept"
    yield "    # Nobody but this node speaks from its anycast prefixes."
    yield "    ip saddr @anycast4 counter drop"
    yield "    ip6 saddr @anycast6 counter drop"
    yield "    ip daddr . meta l4proto . th dport @services4 accept"
    yield "    ip6 daddr . meta l4proto . th dport @services6 accept"
    yield "    ct state established,related accept"
    yield "    ct state invalid counter drop"
    yield _ICMP.rstrip("\n")
    for neighbor in config.bgp.neighbors:
        yield from _neighbor(neighbor)
    if config.mesh:
        yield f"    udp dport {config.mesh.listen_port} accept"
        yield f'    iifname "{config.mesh.device}" goto mesh'
    ports = ", ".join(map(str, _management_ports(config)))
    yield f"    ip saddr @management4 tcp dport {{ {ports} }} accept"
    yield f"    ip6 saddr @management6 tcp dport {{ {ports} }} accept"
    yield "    jump operator"
    if firewall.log_drops:
        yield '    limit rate 5/second burst 10 packets log prefix "edgenode drop: " level info'
    yield "    counter drop"
    yield "  }"
    yield from _mesh(config)
    yield "  chain operator {"
    yield from (f"    {line}" for line in operator.splitlines())
    yield "  }"
    yield "  # An edge relays connections, and forwards no packet."
    yield "  chain forward {"
    yield "    type filter hook forward priority filter; policy drop;"
    yield "  }"
    yield "}"


def _sets(config: Config, firewall: Firewall) -> Iterator[str]:
    prefixes = [prefix for group in config.groups for prefix in group.prefixes]
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        nets = [str(net) for net in firewall.management if net.version == version]
        yield from _set(f"management{version}", kind, nets, interval=True)
        mine = [str(prefix) for prefix in prefixes if prefix.version == version]
        yield from _set(f"anycast{version}", kind, mine, interval=True)
        served = sorted(
            {
                f"{address} . {protocol} . {port}"
                for address, protocol, port in _served(config)
                if address.version == version
            }
        )
        yield from _set(
            f"services{version}", f"{kind} . inet_proto . inet_service", served, interval=True
        )
        workers = sorted(
            f"{address} . {service.port}"
            for service in config.services
            for region in config.regions_of(service)
            for worker in region.workers
            for address in worker.addresses
            if address.version == version
        )
        yield from _set(f"workers{version}", f"{kind} . inet_service", dict.fromkeys(workers))


def _set(name: str, kind: str, elements: Iterable[str], interval: bool = False) -> Iterator[str]:
    yield f"  set {name} {{"
    yield f"    type {kind}"
    if interval:
        yield "    flags interval"
        if "." not in kind:
            yield "    auto-merge"
    if joined := ", ".join(elements):
        yield f"    elements = {{ {joined} }}"
    yield "  }"


def _served(config: Config) -> Iterator[tuple[Address, str, str]]:
    """What users may reach: address, protocol, port or range."""
    for service in config.services:
        for listen in service.listen:
            yield listen.host, "tcp", str(listen.port)
    for group in config.groups:
        for ports in group.ports:
            protocol, _, numbers = ports.partition("/")
            for address in group.addresses:
                yield address, protocol, numbers


def _untracked(config: Config) -> Iterator[str]:
    mesh = config.mesh.device if config.mesh else None
    for chain, hook, end, way in (
        ("untracked_in", "prerouting", "d", "iifname"),
        ("untracked_out", "output", "s", "oifname"),
    ):
        yield f"  chain {chain} {{"
        yield f"    type filter hook {hook} priority raw; policy accept;"
        yield f"    ip {end}addr . meta l4proto . th {end}port @services4 notrack"
        yield f"    ip6 {end}addr . meta l4proto . th {end}port @services6 notrack"
        if mesh:
            yield f'    {way} "{mesh}" notrack'
        yield "  }"


def _neighbor(neighbor: Neighbor) -> Iterator[str]:
    family = "ip" if neighbor.address.version == 4 else "ip6"
    hops = "ttl" if family == "ip" else "hoplimit"
    near = ""
    if neighbor.ttl_security:  # RFC 5082: from no farther than it may be
        least = 255 - (neighbor.multihop or 1) + 1
        near = f" {family} {hops} >= {least}"
    said = f"    {family} saddr {neighbor.address}"
    yield f'{said}{near} tcp dport 179 accept comment "{neighbor.name}"'
    # RFC 5881 (a single hop), RFC 5883 (more)
    bfd = "4784" if neighbor.multihop else "{ 3784, 3785 }"
    yield f'{said} udp dport {bfd} accept comment "{neighbor.name}"'


def _mesh(config: Config) -> Iterator[str]:
    if not config.mesh:
        return
    yield "  # Workers answer, and begin nothing: not tracked, so no bare SYN is let in."
    yield "  chain mesh {"
    for family, version in (("ip", 4), ("ip6", 6)):
        yield (
            f"    {family} saddr . tcp sport @workers{version} "
            "tcp flags & (syn | ack) != syn accept"
        )
    yield "    jump operator"
    yield "    counter drop"
    yield "  }"


def _management_ports(config: Config) -> list[int]:
    ports = [SSH]
    if config.metrics and not config.metrics.listen.host.is_loopback:
        ports.append(config.metrics.listen.port)
    return ports
