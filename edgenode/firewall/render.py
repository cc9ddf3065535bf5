"""From the configuration to a nftables ruleset (nft(8)). Pure.

Default drop, and only what follows from the configuration is let in. Packets of users, WireGuard
and the mesh are not tracked: a flood fills the table of connections, and a full one drops users.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgenode.config import Config
from edgenode.config.firewall import SSH
from edgenode.config.schema import Firewall, Neighbor
from edgenode.config.siblings import addresses
from edgenode.config.values import Address

_ICMP = """\
  # RFC 4890, and its like for IPv4. Before connections are looked at: an error that speaks of a
  # connection that is not tracked is "invalid" there, and without packet-too-big large answers
  # hang. Neighbors and routers only from the link itself; a redirect is nobody's to give.
  chain icmp_in {
    icmp type { destination-unreachable, time-exceeded, parameter-problem, echo-reply } accept
    icmp type echo-request limit rate 200/second burst 50 packets accept
    icmp type echo-request counter drop
    icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-reply } accept
    icmpv6 type echo-request limit rate 200/second burst 50 packets accept
    icmpv6 type echo-request counter drop
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } ip6 hoplimit 255 accept
    icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } ip6 saddr { ::, fe80::/10 } accept
  }"""  # noqa: E501


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
    yield _ICMP
    yield "  chain input {"
    yield "    type filter hook input priority filter; policy drop;"
    yield "    iif lo accept"
    yield "    # Nobody but this node speaks from its anycast prefixes."
    yield "    ip saddr @anycast4 counter drop"
    yield "    ip6 saddr @anycast6 counter drop"
    if config.mesh:
        yield "    # Other edges measure their paths: strangers must not use up their echoes."
        for protocol in ("icmp", "icmpv6"):
            yield f'    iifname "{config.mesh.device}" {protocol} type echo-request accept'
    yield "    meta l4proto { icmp, icmpv6 } jump icmp_in"
    if config.mesh:
        yield f'    iifname "{config.mesh.device}" goto mesh'
    yield "    ip daddr . meta l4proto . th dport @services4 counter accept"
    yield "    ip6 daddr . meta l4proto . th dport @services6 counter accept"
    if config.mesh:
        yield f"    udp dport {config.mesh.listen_port} counter accept"
    yield "    ct state established,related accept"
    yield "    ct state invalid counter drop"
    yield "    # Answers of a DHCP server, where a card asks for its address."
    yield "    udp sport 67 udp dport 68 accept"
    yield "    ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept"
    for neighbor in config.bgp.neighbors:
        yield from _neighbor(neighbor)
    ports = ", ".join(map(str, _management_ports(config)))
    yield f"    ip saddr @management4 tcp dport {{ {ports} }} counter accept"
    yield f"    ip6 saddr @management6 tcp dport {{ {ports} }} counter accept"
    yield "    jump operator"
    yield from _drop(firewall)
    yield "  }"
    yield from _mesh(config, firewall)
    yield from _beside_mesh(config)
    yield "  chain operator {"
    yield from (f"    {line}" for line in operator.splitlines())
    yield "  }"
    yield "  # An edge relays connections, and forwards no packet."
    yield "  chain forward {"
    yield "    type filter hook forward priority filter; policy drop;"
    yield "    counter"
    yield "  }"
    yield "}"


def _drop(firewall: Firewall) -> Iterator[str]:
    # Somebody scans at any time: all day at this rate, and the journal (512 MiB) still goes back a
    # month. At 5 a second it would be two days of nothing else.
    if firewall.log_drops:
        yield '    limit rate 10/minute burst 10 packets log prefix "edgenode drop: " level info'
    yield "    counter drop"


def _sets(config: Config, firewall: Firewall) -> Iterator[str]:
    prefixes = [prefix for group in config.groups for prefix in group.prefixes]
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        nets = [str(net) for net in firewall.management if net.version == version]
        yield from _set(f"management{version}", kind, nets, interval=True)
        mine = [str(prefix) for prefix in prefixes if prefix.version == version]
        yield from _set(f"anycast{version}", kind, mine, interval=True)
        served = [
            f"{address} . {protocol} . {ports}"
            for address, protocol, ports in _served(config)
            if address.version == version
        ]
        yield from _set(
            f"services{version}", f"{kind} . inet_proto . inet_service", served, interval=True
        )
        allowed = [
            str(network)
            for peer in (config.mesh.peers if config.mesh else ())
            for network in peer.allowed
            if network.version == version
        ]
        yield from _set(f"mesh{version}", kind, allowed, interval=True)
        answers = list(_answers(config, version))
        yield from _set(
            f"workers{version}", f"{kind} . inet_service", answers, interval=bool(config.registry)
        )


def _answers(config: Config, version: int) -> Iterator[str]:
    """Where in the mesh answers come from: address or network, and port.

    Workers that register themselves are known when they do, somewhere behind the mesh's peers.
    """
    if config.registry is None:
        workers = {
            f"{address} . {service.port}"
            for service in config.services
            for region in config.regions_of(service)
            for worker in region.workers
            for address in worker.addresses
            if address.version == version
        }
        yield from sorted(workers)
        return
    peers = config.mesh.peers if config.mesh else ()
    allowed = [net for peer in peers for net in peer.allowed if net.version == version]
    # A name of etcd's may lead there, too.
    named = {url.port for url in config.registry.endpoints if url.address is None}
    ports = sorted({service.port for service in config.services} | named)
    yield from (f"{net} . {port}" for net in allowed for port in ports)
    for url in config.registry.endpoints:  # those that are reached through the mesh
        at = url.address
        if (
            at
            and url.port not in ports
            and any(at in n for n in allowed if n.version == at.version)
        ):
            yield f"{at} . {url.port}"


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
    """What users may reach: address, protocol, port or range; no two overlap, as sets want it."""
    ranges: dict[tuple[Address, str], list[tuple[int, int]]] = {}
    for service in config.services:
        for listen in service.listen:
            ranges.setdefault((listen.host, "tcp"), []).append((listen.port, listen.port))
    for group in config.groups:
        for ports in group.ports:
            protocol, _, numbers = ports.partition("/")
            first, _, last = numbers.partition("-")
            for address in group.addresses:
                span = (int(first), int(last or first))
                ranges.setdefault((address, protocol), []).append(span)
    for (address, protocol), spans in ranges.items():
        for first_port, last_port in _merged(spans):
            ports = f"{first_port}" if first_port == last_port else f"{first_port}-{last_port}"
            yield address, protocol, ports


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _untracked(config: Config) -> Iterator[str]:
    for chain, hook, end, way in (
        ("untracked_in", "prerouting", "d", "iifname"),
        ("untracked_out", "output", "s", "oifname"),
    ):
        yield f"  chain {chain} {{"
        yield f"    type filter hook {hook} priority raw; policy accept;"
        yield f"    ip {end}addr . meta l4proto . th {end}port @services4 notrack"
        yield f"    ip6 {end}addr . meta l4proto . th {end}port @services6 notrack"
        if config.mesh:
            yield f"    udp {end}port {config.mesh.listen_port} notrack"
            yield f'    {way} "{config.mesh.device}" notrack'
        yield "  }"


def _neighbor(neighbor: Neighbor) -> Iterator[str]:
    family = "ip" if neighbor.address.version == 4 else "ip6"
    hops = "ttl" if family == "ip" else "hoplimit"
    near = ""
    if neighbor.ttl_security:  # RFC 5082: from no farther than it may be
        least = 255 - (neighbor.multihop or 1) + 1
        near = f" {family} {hops} >= {least}"
    said = f"    {family} saddr {neighbor.address}"
    end = f'counter accept comment "{neighbor.name}"'
    yield f"{said}{near} tcp dport 179 {end}"
    if neighbor.multihop:  # RFC 5883
        yield f"{said} udp dport 4784 {end}"
    else:  # RFC 5881: from the link itself, the echo function apart
        yield f"{said} udp dport 3784 {family} {hops} 255 {end}"
        yield f"{said} udp dport 3785 {end}"


def _mesh(config: Config, firewall: Firewall) -> Iterator[str]:
    if not config.mesh:
        return
    yield "  # Workers answer, and begin nothing: not tracked, so no bare SYN is let in."
    yield "  # Edges tell what they see, from their own addresses."
    yield "  chain mesh {"
    for family, version in (("ip", 4), ("ip6", 6)):
        yield (
            f"    {family} saddr . tcp sport @workers{version} "
            "tcp flags & (syn | ack) != syn accept"
        )
    for version, edges in _edges(config).items():
        family = "ip" if version == 4 else "ip6"
        port = config.siblings.port
        said = f"{family} saddr {{ {', '.join(edges)} }}"
        yield f"    {said} udp sport {port} udp dport {port} accept"
    yield "    jump operator"
    yield from _drop(firewall)
    yield "  }"


def _beside_mesh(config: Config) -> Iterator[str]:
    """What steering sends is bound to the device. But for a socket whose device or address is gone
    the kernel itself sends a RST, by whatever route there is."""
    if not config.mesh:
        return
    yield "  # To workers through the mesh's device alone, whatever routes there are."
    yield "  chain beside_mesh {"
    yield "    type filter hook output priority filter; policy accept;"
    yield f'    oifname {{ "{config.mesh.device}", "lo" }} accept'
    yield "    ip daddr @mesh4 counter drop"
    yield "    ip6 daddr @mesh6 counter drop"
    yield "  }"


def _edges(config: Config) -> dict[int, list[str]]:
    """The mesh addresses of the other edges, by family."""
    found: dict[int, list[str]] = {}
    for peer in config.edges:
        for address in addresses(config.mesh, peer) if config.mesh else ():
            found.setdefault(address.version, []).append(str(address))
    return found


def _management_ports(config: Config) -> list[int]:
    ports = [SSH]
    if config.metrics and not config.metrics.listen.host.is_loopback:
        ports.append(config.metrics.listen.port)
    return ports
