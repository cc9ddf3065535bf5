"""A transit: a BIRD with an AS of its own, between its neighbors, the edges and the rest.

It behaves as a well-kept network does: explicit policy on every session (RFC 8212), only the
anycast prefixes from an edge, and a route with GRACEFUL_SHUTDOWN (RFC 8326) is the last choice.
Among the others it takes the nearest: every import adds the link's round-trip to the MED, in
microseconds, and the sum decides by the local preference.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgenode.lab.topology import Edge, Link, Topology, Transit

SYSCTLS = {
    "net.ipv4.ip_forward": 1,
    "net.ipv6.conf.all.forwarding": 1,
    "net.ipv6.conf.default.forwarding": 1,
}

# Local preference of a route with no distance at all.
TOP = 100_000_000
# What one repetition of the edge's AS in its path counts for: a second, beyond any distance.
PREPEND = 1_000_000
# The large community (RFC 8092) that tells which edge a route came from: (transit, FROM, edge).
FROM = 1

# The firewall of a transit's namespace: pairs of addresses whose UDP packets vanish on the way.
FIREWALL = """\
table inet edgenode_lab {
    set cut { type ipv4_addr . ipv4_addr; }
    chain forward {
        type filter hook forward priority 0;
        ip saddr . ip daddr @cut meta l4proto udp counter drop
    }
}
"""

_HEADER = """\
log stderr {{ info, warning, error, fatal, auth, bug }};
timeformat base iso long ms;
timeformat log iso long ms;
timeformat protocol iso long ms;
timeformat route iso long ms;
router id {router_id};

# Interfaces are learned from netlink events; the scans are a safety net.
protocol device {{ scan time 60; }}
protocol direct {{ ipv4; ipv6; interface "to-*", "lo"; }}
protocol kernel kernel4 {{
    scan time 60; netlink rx buffer 16777216;
    ipv4 {{ import none; export where source = RTS_BGP; }};
}}
protocol kernel kernel6 {{
    scan time 60; netlink rx buffer 16777216;
    ipv6 {{ import none; export where source = RTS_BGP; }};
}}

function anycast() {{
    case net.type {{
        NET_IP4: return net ~ [ {anycast4} ];
        NET_IP6: return net ~ [ {anycast6} ];
    }}
    return false;
}}

function underlay() {{
    case net.type {{
        NET_IP4: return net ~ [ 198.51.100.0/25{{31,31}}, 198.51.100.128/26{{32,32}} ];
        NET_IP6: return net ~ [ 2001:db8::/48{{127,127}}, 2001:db8:ff::/48{{128,128}} ];
    }}
    return false;
}}

# Accept with the distance so far, in microseconds of round-trip; of little worth when its
# origin says that it is about to go.
function take_in(int distance) {{
    if defined(bgp_med) then bgp_med = bgp_med + distance; else bgp_med = distance;
    if bgp_med > {top} - 1 then bgp_med = {top} - 1;
    bgp_local_pref = {top} - bgp_med;
    if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
    accept;
}}

function from_edge(int distance; int edge) {{
    if ! anycast() then reject "not an anycast prefix: ", net;
    bgp_large_community.delete([({asn}, *, *)]);
    bgp_large_community.add(({asn}, {origin}, edge));
    take_in(distance + {prepend} * (bgp_path.len - 1));
}}

function from_neighbor(int distance) {{
    if ! (anycast() || underlay()) then reject;
    take_in(distance);
}}

# BIRD passes a MED on to another AS only if the export filter sets it.
filter to_neighbor {{
    if source = RTS_DEVICE && underlay() then accept;
    if source != RTS_BGP then reject;
    bgp_med = bgp_med;
    accept;
}}
"""

_SESSION = """
protocol bgp {name} {{
    local {local} as {asn};
    neighbor {remote} as {peer_asn};
    hold time 9;
    connect delay time 0; connect retry time 1; error wait time 1, 2;
    graceful restart off;
    {channel} {{ import filter {{ {receive}; }}; export {export}; }};
}}
"""


def protocol(peer: str, version: int) -> str:
    """The name of the session with a peer, in BIRD."""
    return f"{peer}_v{version}"


def configuration(topology: Topology, transit: Transit) -> str:
    """The whole configuration of a transit's BIRD."""
    sets = [
        ", ".join(str(group.prefixes[family]) for group in topology.groups) for family in (0, 1)
    ]
    parts = [
        _HEADER.format(
            router_id=transit.ipv4,
            anycast4=sets[0],
            anycast6=sets[1],
            top=TOP,
            prepend=PREPEND,
            asn=transit.asn,
            origin=FROM,
        )
    ]
    for link in topology.links_of(transit.name):
        peer = topology.node(link.other(transit.name).node)
        distance = round(link.rtt * 1000)
        if isinstance(peer, Transit):
            receive = f"from_neighbor({distance})"
            parts += _sessions(transit, link, peer.asn, receive, "filter to_neighbor")
        elif isinstance(peer, Edge):
            receive = f"from_edge({distance}, {peer.number})"
            parts += _sessions(transit, link, peer.asn, receive, "none")
    return "".join(parts)


def _sessions(
    transit: Transit, link: Link, peer_asn: int, receive: str, export: str
) -> Iterable[str]:
    here, there = link.end(transit.name), link.other(transit.name)
    families = ((4, here.ipv4.ip, there.ipv4.ip), (6, here.ipv6.ip, there.ipv6.ip))
    for version, local, remote in families:
        yield _SESSION.format(
            name=protocol(there.node, version),
            local=local,
            asn=transit.asn,
            remote=remote,
            peer_asn=peer_asn,
            channel=f"ipv{version}",
            receive=receive,
            export=export,
        )


def commands(topology: Topology) -> list[str]:
    """What the namespace needs beside its links.

    BIRD replaces an IPv6 route by removing it and adding it (sysdep/linux/netlink.c), and a
    packet that meets the gap would be answered "unreachable", which fails a user's connection.
    Routers drop it instead: hence a route of last resort for each anycast prefix.
    """
    return [f"route add blackhole {group.prefixes[1]} metric 100000" for group in topology.groups]


def bird(directory: Path) -> tuple[str, ...]:
    """The command that runs BIRD in the foreground, with its files in a directory."""
    configuration_file, socket = directory / "bird.conf", directory / "bird.ctl"
    return ("bird", "-f", "-c", str(configuration_file), "-s", str(socket))
