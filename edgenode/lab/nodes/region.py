"""A worker region: a WireGuard device that the edges reach, and web servers behind it."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path

from edgenode.lab.topology import WORKER_PORT, Region, Topology, Worker

PORT = 51820
MTU = 1420
# What a worker serves at /bytes: zeros, from a file without blocks.
BYTES = 16 * 1024 * 1024

SYSCTLS: dict[str, str | int] = {}


def outer(topology: Topology, node: str) -> IPv4Address:
    """The address between whose likes the tunnels' packets travel."""
    return topology.uplink(node).end(node).ipv4.ip


def wireguard(topology: Topology, private_key: str, public_keys: Mapping[str, str]) -> str:
    """The configuration for `wg setconf`: a peer for each edge. Holds the secret key."""
    lines = ["[Interface]", f"PrivateKey = {private_key}", f"ListenPort = {PORT}"]
    for edge in topology.edges:
        v4, v6 = edge.mesh
        lines += [
            "[Peer]",
            f"PublicKey = {public_keys[edge.name]}",
            f"Endpoint = {outer(topology, edge.name)}:{PORT}",
            f"AllowedIPs = {v4}/32, {v6}/128",
        ]
    return "\n".join(lines) + "\n"


def commands(topology: Topology, region: Region, device: str) -> list[str]:
    """Workers' addresses on the device, and the way to the edges through it."""
    lines = [f"link set {device} mtu {MTU}"]
    for worker in region.workers:
        v4, v6 = worker.addresses
        lines += [f"addr add {v4}/32 dev {device}", f"addr add {v6}/128 dev {device} nodad"]
    lines.append(f"link set {device} up")
    for edge in topology.edges:
        v4, v6 = edge.mesh
        lines += [f"route add {v4}/32 dev {device}", f"route add {v6}/128 dev {device}"]
    return lines


_NGINX = """\
daemon off;
user root;
worker_processes 1;
pid {directory}/{worker}.pid;
error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {directory}/{worker}-tmp;
    proxy_temp_path {directory}/{worker}-tmp;
    fastcgi_temp_path {directory}/{worker}-tmp;
    uwsgi_temp_path {directory}/{worker}-tmp;
    scgi_temp_path {directory}/{worker}-tmp;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    default_type application/json;
    sendfile on;
    map $remote_addr $edge {{
        default "";
{edges}
    }}
    server {{
        listen {v4}:{port} proxy_protocol backlog=4096;
        listen [{v6}]:{port} proxy_protocol backlog=4096;
        location / {{
            return 200 '{{"region":"{region}","worker":"{worker}","edge":"$edge",\
"client":"$proxy_protocol_addr","port":"$proxy_protocol_port"}}';
        }}
        location = /bytes {{
            default_type application/octet-stream;
            alias {directory}/bytes;
        }}
    }}
}}
"""


def nginx(topology: Topology, region: Region, worker: Worker, directory: Path) -> str:
    """The configuration of one worker's nginx: it says who it is, which edge the connection
    came through, and who the client was by PROXY protocol."""
    v4, v6 = worker.addresses
    edges = "\n".join(
        f'        "{address}" {edge.name};' for edge in topology.edges for address in edge.mesh
    )
    return _NGINX.format(
        directory=directory,
        worker=worker.name,
        region=region.name,
        v4=v4,
        v6=v6,
        port=WORKER_PORT,
        edges=edges,
    )
