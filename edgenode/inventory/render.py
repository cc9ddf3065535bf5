"""A node's edgenode.toml from the inventory: its own tables, and the mesh and regions of all."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from edgenode.inventory.nodes import INCLUDES, MESH_OF_NODE, Fleet, Node, Role


def configuration(fleet: Fleet, host: str, keys: Mapping[str, str]) -> dict[str, Any]:
    """An edge's configuration; `keys` are the nodes' public WireGuard keys by inventory name.

    Raises KeyError for a peer whose key is missing: a mesh without it would cut that peer off.
    """
    node = fleet.of(host)
    document: dict[str, Any] = {"node": {"name": node.name}}
    if node.maintenance_file is not None:
        document["node"]["maintenance_file"] = node.maintenance_file
    document.update(node.tables)
    includes = [INCLUDES + name for name in node.files["firewall_includes"]]
    if includes and isinstance(firewall := document.get("firewall"), Mapping):
        document["firewall"] = {**firewall, "include": [*firewall.get("include", ()), *includes]}
    if regions := [*_regions(fleet), *node.extra_regions]:
        document["regions"] = regions
    if node.mesh is not None:
        own = {key: value for key, value in node.mesh.items() if key not in MESH_OF_NODE}
        peers = [_peer(node, peer, keys[peer.host]) for peer in peers_of(fleet, node)]
        document["mesh"] = {**own, "peers": [*peers, *node.extra_peers]}
    return document


def peers_of(fleet: Fleet, node: Node) -> list[Node]:
    """An edge meets all others, a worker the edges: workers have nothing to say to each other."""
    met = fleet.nodes if node.role is Role.EDGE else fleet.edges()
    return [other for other in met if other is not node and other.mesh is not None]


def variable_of(fleet: Fleet, host: str, key: str) -> tuple[str, str]:
    """The inventory's host and variable that a key of `host`'s edgenode.toml came from."""
    node = fleet.of(host)
    if match := re.match(r"mesh\.peers\[(\d+)\]\.?(\w*)", key):
        peers = peers_of(fleet, node)
        number = int(match[1])
        if number < len(peers):
            names = {"name": "edgenode_name", "public_key": "edgenode_public_key"}
            return peers[number].host, names.get(match[2], f"edgenode_mesh.{match[2]}")
        return host, f"edgenode_extra_peers[{number - len(peers)}].{match[2]}"
    if match := re.match(r"regions\[(\d+)\](?:\.workers\[(\d+)\])?", key):
        names_of_regions = list(_by_region(fleet))
        number = int(match[1])
        if number < len(names_of_regions):
            workers = _by_region(fleet)[names_of_regions[number]]
            if match[2]:
                return workers[int(match[2])].host, "edgenode_mesh.addresses"
            return workers[0].host, "edgenode_region"
        return host, f"edgenode_extra_regions[{number - len(names_of_regions)}]"
    if key.startswith("node."):
        return host, f"edgenode_{key.removeprefix('node.')}"
    return host, f"edgenode_{key}"


def placeholder_key(host: str) -> str:
    """A public key to check with, before the node's own is known; the same for the same host."""
    return base64.b64encode(hashlib.sha256(f"placeholder {host}".encode()).digest()).decode()


def _peer(node: Node, peer: Node, key: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": peer.name, "public_key": key}
    if peer.next_public_key not in ("", key):  # it has switched: its next key is its key
        found["next_public_key"] = peer.next_public_key
    if peer.endpoint:
        found["endpoint"] = str(peer.endpoint)
    found["allowed"] = [str(network) for network in peer.allowed]
    if node.mesh and "keepalive" in node.mesh:
        found["keepalive"] = node.mesh["keepalive"]
    if node.role is peer.role is Role.EDGE and _families(node) & _families(peer):
        found["edge"] = True
    return found


def _families(node: Node) -> set[int]:
    """Siblings speak between their mesh addresses: of one family."""
    return {address.version for address in node.addresses}


def _by_region(fleet: Fleet) -> dict[str, list[Node]]:
    found: dict[str, list[Node]] = {}
    for worker in fleet.workers():
        found.setdefault(worker.region, []).append(worker)
    return found


def _regions(fleet: Fleet) -> list[dict[str, Any]]:
    return [
        {
            "name": region,
            "workers": [
                {"name": worker.name, "addresses": [str(one) for one in worker.addresses]}
                for worker in workers
            ],
        }
        for region, workers in _by_region(fleet).items()
    ]
