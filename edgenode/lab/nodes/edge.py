"""An edge node: BIRD, WireGuard, a second local proxy, and edgenode's own daemons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgenode.lab.nodes.region import MTU, PORT, outer
from edgenode.lab.python import module
from edgenode.lab.topology import STATIC, WEB, WORKER_PORT, Edge, Topology, Transit

SYSCTLS = {
    # The proxies listen on service addresses before these are there.
    "net.ipv4.ip_nonlocal_bind": 1,
    "net.ipv6.ip_nonlocal_bind": 1,
    # A node that forwards is the hard case: packets to unused anycast addresses must not loop.
    "net.ipv4.ip_forward": 1,
    "net.ipv6.conf.all.forwarding": 1,
    # Connections queued on a relay worker that ends go to its sibling.
    "net.ipv4.tcp_migrate_req": 1,
}


@dataclass(frozen=True)
class Settings:
    """What a scenario may want different on its edges; times in seconds."""

    grace: float = 0.0
    heartbeat_timeout: float = 2.0
    drain_time: float = 5.0
    check_interval: float = 0.5
    rise: int = 2
    fall: int = 4
    siblings: bool = True
    """Whether the edges tell each other what they reach."""
    damping: bool = False
    """Scenes and tests kill a proxy more often than any upstream would bear."""

    @property
    def polls_need(self) -> float:
        """Seconds that `fall` polls take at the least; what is found earlier was found without
        them. Each may be put off by jitter, by less than an interval."""
        return (self.fall - 2) * self.check_interval


_TOML = """\
[node]
name = "{name}"
run_dir = "{directory}/run"
state_dir = "{directory}/state"

[bgp]
asn = {asn}
router_id = "{router_id}"
socket = "{directory}/bird.ctl"
config = "{directory}/bird.conf"
hold_time = "9s"
drain_time = {drain_time}

[[bgp.neighbors]]
name = "transit-v4"
address = "{transit_v4}"
source = "{own_v4}"
asn = {transit_asn}

[[bgp.neighbors]]
name = "transit-v6"
address = "{transit_v6}"
source = "{own_v6}"
asn = {transit_asn}

[lifeline]
device = "edgenode0"
grace = {grace}
heartbeat_timeout = {heartbeat_timeout}

[[groups]]
name = "web"
prefixes = ["{web4}", "{web6}"]
addresses = ["{web_v4}", "{web_v6}"]
checks = ["steering-v4", "steering-v6", "disk"]
[groups.damping]
enabled = {damping}

[[groups]]
name = "static"
prefixes = ["{static4}", "{static6}"]
addresses = ["{static_v4}", "{static_v6}"]
checks = ["nginx-v4", "nginx-v6"]
[groups.damping]
enabled = {damping}

[[checks]]
name = "steering-v4"
type = "tcp"
target = "{web_v4}:80"
{probing}

[[checks]]
name = "steering-v6"
type = "tcp"
target = "[{web_v6}]:80"
{probing}

[[checks]]
name = "nginx-v4"
type = "http"
url = "http://{static_v4}/"
{probing}

[[checks]]
name = "nginx-v6"
type = "http"
url = "http://[{static_v6}]/"
{probing}

[[checks]]
name = "disk"
type = "exec"
command = ["/bin/sleep", "0.2"]
interval = {interval}
timeout = "2s"
rise = 1
fall = {fall}

[[services]]
name = "web"
group = "web"
listen = ["{web_v4}:80", "[{web_v6}]:80"]
port = {worker_port}
proxy_protocol = "v2"

[mesh]
device = "{device}"
listen_port = {port}
addresses = ["{mesh_v4}", "{mesh_v6}"]
mtu = {mtu}

[metrics]
listen = "127.0.0.1:9500"
"""

_PROBING = """\
interval = {interval}
timeout = "500ms"
rise = {rise}
fall = {fall}
tripwire = true"""

_PEER = """
[[mesh.peers]]
name = "{name}"
public_key = "{public_key}"
endpoint = "{endpoint}"
allowed = ["{v4}", "{v6}"]
edge = {edge}
"""


def configuration(
    topology: Topology,
    edge: Edge,
    directory: Path,
    device: str,
    public_keys: Mapping[str, str],
    settings: Settings,
) -> str:
    """The edge's edgenode.toml."""
    link = topology.uplink(edge.name)
    own, there = link.end(edge.name), link.other(edge.name)
    transit = topology.node(edge.transit)
    assert isinstance(transit, Transit)
    probing = _PROBING.format(
        interval=settings.check_interval, rise=settings.rise, fall=settings.fall
    )
    head = _TOML.format(
        name=edge.name,
        directory=directory,
        asn=edge.asn,
        router_id=edge.router_id,
        drain_time=settings.drain_time,
        transit_v4=there.ipv4.ip,
        transit_v6=there.ipv6.ip,
        own_v4=own.ipv4.ip,
        own_v6=own.ipv6.ip,
        transit_asn=transit.asn,
        grace=settings.grace,
        heartbeat_timeout=settings.heartbeat_timeout,
        web4=WEB.prefixes[0],
        web6=WEB.prefixes[1],
        web_v4=WEB.addresses[0],
        web_v6=WEB.addresses[1],
        static4=STATIC.prefixes[0],
        static6=STATIC.prefixes[1],
        static_v4=STATIC.addresses[0],
        static_v6=STATIC.addresses[1],
        damping=str(settings.damping).lower(),
        probing=probing,
        interval=settings.check_interval,
        fall=settings.fall,
        worker_port=WORKER_PORT,
        device=device,
        port=PORT,
        mesh_v4=edge.mesh[0],
        mesh_v6=edge.mesh[1],
        mtu=MTU,
    )
    return head + "".join([*_peers(topology, edge, public_keys, settings), *_regions(topology)])


def _peers(
    topology: Topology, edge: Edge, public_keys: Mapping[str, str], settings: Settings
) -> list[str]:
    allowed = {
        other.name: (f"{other.mesh[0]}/32", f"{other.mesh[1]}/128")
        for other in topology.edges
        if other != edge
    }
    edges = allowed.keys() if settings.siblings else ()
    allowed = allowed | {r.name: (str(r.prefixes[0]), str(r.prefixes[1])) for r in topology.regions}
    return [
        _PEER.format(
            name=name,
            public_key=public_keys[name],
            endpoint=f"{outer(topology, name)}:{PORT}",
            v4=v4,
            v6=v6,
            edge=str(name in edges).lower(),
        )
        for name, (v4, v6) in allowed.items()
    ]


def _regions(topology: Topology) -> list[str]:
    parts = []
    for region in topology.regions:
        parts.append(f'\n[[regions]]\nname = "{region.name}"\n')
        for worker in region.workers:
            addresses = ", ".join(f'"{address}"' for address in worker.addresses)
            parts.append(
                f'[[regions.workers]]\nname = "{worker.name}"\naddresses = [{addresses}]\n'
            )
    return parts


_NGINX = """\
daemon off;
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {directory}/nginx-tmp;
    proxy_temp_path {directory}/nginx-tmp;
    fastcgi_temp_path {directory}/nginx-tmp;
    uwsgi_temp_path {directory}/nginx-tmp;
    scgi_temp_path {directory}/nginx-tmp;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    default_type application/json;
    server {{
        listen {v4}:80 backlog=4096;
        listen [{v6}]:80 backlog=4096;
        location / {{
            return 200 '{{"edge":"{name}","client":"$remote_addr","port":"$remote_port"}}';
        }}
    }}
}}
"""


def nginx(edge: Edge, directory: Path) -> str:
    """The configuration of the second local proxy, which answers for the group `static`."""
    v4, v6 = STATIC.addresses
    return _NGINX.format(name=edge.name, directory=directory, v4=v4, v6=v6)


def command_line(config: Path, *arguments: str) -> tuple[str, ...]:
    """An `edgenode` command on an edge's configuration."""
    return module("edgenode.cli", "--config", str(config), *arguments)


def daemon(config: Path, name: str) -> tuple[str, ...]:
    """The command that runs one of edgenode's daemons. Its name comes first: the lifeline is told
    by it before any library is loaded."""
    return module("edgenode.cli", name, "--config", str(config))


def render_bird(config: Path) -> tuple[str, ...]:
    """The command that writes BIRD's configuration from the edge's."""
    return command_line(config, "render", "bird", "--write")
