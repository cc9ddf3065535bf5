"""The inventory's hosts as nodes: names, mesh, region, and the variables that are ours."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_network
from typing import Any

from edgenode.config.values import (
    Address,
    Endpoint,
    NamedEndpoint,
    Network,
    decode_key,
    parse_address,
    parse_duration,
    parse_mesh_endpoint,
    parse_network,
)
from edgenode.inventory.logins import not_keys

PREFIX = "edgenode_"

TABLES = (
    "bgp",
    "degraded",
    "lifeline",
    "groups",
    "checks",
    "hooks",
    "services",
    "registry",
    "steering",
    "siblings",
    "metrics",
    "firewall",
)
"""Tables of edgenode.toml that a variable of the same name holds as they are."""

COMMON = ("name", "mesh", "public_key", "authorized_keys")
FILES = ("secrets", "network_files", "firewall_includes")
"""Mappings of files by name."""
EDGE = (*TABLES, *FILES, "maintenance_file", "extra_peers", "extra_regions", "neighbors_down")
WORKER = ("region",)
OWN = ("bgp", "mesh", "region")
"""What a host has of its own, and no host has that is neither an edge nor a worker."""
PLAYBOOK = ("drain_timeout", "verify_timeout", "firewall_undo_after")
KNOWN = frozenset(PREFIX + name for name in (*COMMON, *EDGE, *WORKER, *PLAYBOOK))

MESH_OF_NODE = ("endpoint", "allowed", "keepalive", "next_public_key")
"""Keys of `edgenode_mesh` that are for the other nodes' peers, not for the own [mesh]."""

MESH_OF_WORKER = ("addresses", "listen_port", "mtu", "device", *MESH_OF_NODE)
"""A worker has no edgenode.toml for `check-config` to judge."""

SECRETS = "/etc/edgenode/secrets/"
INCLUDES = "/etc/edgenode/firewall/"

_NETWORK_FILE = re.compile(r"[\w@:.-]+\.(network|netdev|link)")
"""systemd-networkd passes over files of other names."""


class Role(Enum):
    EDGE = "edge"
    WORKER = "worker"


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong with the inventory; ``str()`` is a line for people."""

    host: str
    variable: str
    what: str

    def __str__(self) -> str:
        return f"{self.host}: {self.variable}: {self.what}"


@dataclass(frozen=True)
class Node:
    """A host of the inventory."""

    host: str
    """Its name in the inventory."""
    role: Role
    name: str
    login: tuple[str, int] = ("", 22)
    """Where Ansible reaches it."""
    region: str = ""
    maintenance_file: Any = None
    """A key of [node], which `check-config` judges; None: it has none."""
    mesh: Mapping[str, Any] | None = None
    addresses: tuple[Address, ...] = ()
    """Mesh addresses."""
    endpoint: Endpoint | NamedEndpoint | None = None
    allowed: tuple[Network, ...] = ()
    """What other nodes send to it: its mesh addresses, and ranges behind it."""
    next_public_key: str = ""
    """The key that it will have, while it changes it."""
    tables: Mapping[str, Any] = field(default_factory=dict)
    """edgenode.toml's tables that the inventory holds as they are."""
    extra_peers: Sequence[Mapping[str, Any]] = ()
    extra_regions: Sequence[Mapping[str, Any]] = ()
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names by variable, never contents."""


@dataclass(frozen=True)
class Fleet:
    """All nodes of the inventory, whatever the run is limited to."""

    nodes: tuple[Node, ...]

    def of(self, host: str) -> Node:
        """A node by its name in the inventory."""
        return next(node for node in self.nodes if node.host == host)

    def edges(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.role is Role.EDGE)

    def workers(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.role is Role.WORKER)


def read_fleet(
    hosts: Mapping[str, Mapping[str, Any]], edges: Sequence[str], workers: Sequence[str]
) -> tuple[Fleet, list[Problem]]:
    """The fleet from hosts' variables, and what cannot be read of it."""
    problems = [
        Problem(host, "groups", "is an edge and a worker: take it out of one of the two groups")
        for host in edges
        if host in workers
    ]
    nodes = []
    for host in dict.fromkeys([*edges, *workers]):
        role = Role.EDGE if host in edges else Role.WORKER
        reader = _Reader(host, hosts[host])
        nodes.append(reader.node(role))
        problems += reader.problems
    return Fleet(tuple(nodes)), problems


def strays(every: Mapping[str, Mapping[str, Any]], fleet: Fleet) -> Iterator[Problem]:
    """Hosts that are meant for a group and stand in none: the others would cut them off."""
    if not fleet.edges():
        yield Problem("groups", "edges", "has no host: every worker would lose its peers")
    known = {node.host for node in fleet.nodes}
    for host, variables in every.items():
        if host not in known and any(PREFIX + name in variables for name in OWN):
            yield Problem(host, "groups", "is neither in edges nor in workers: is a name misspelt?")


def unknown_variables(hosts: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """Variables that look like ours and are not: a slip that nothing else would notice."""
    for host, variables in hosts.items():
        for name in sorted(variables):
            if name.startswith(PREFIX) and name not in KNOWN:
                near = difflib.get_close_matches(name, KNOWN, 1)
                hint = f": {near[0]} is meant?" if near else ""
                yield Problem(host, name, f"there is no such variable{hint}")


class _Reader:
    """One host's variables; what is wrong is kept, and the rest is read all the same."""

    def __init__(self, host: str, variables: Mapping[str, Any]) -> None:
        self.host = host
        self.problems: list[Problem] = []
        self._variables = variables

    def node(self, role: Role) -> Node:
        mesh = self._mapping("mesh")
        addresses = self._each("mesh.addresses", (mesh or {}).get("addresses", ()), parse_address)
        behind = self._each("mesh.allowed", (mesh or {}).get("allowed", ()), parse_network)
        if role is Role.WORKER and not addresses:
            self._wrong("mesh.addresses", "a worker is reached by the mesh: write its address")
        if role is Role.WORKER:
            self._mesh_of_worker(mesh or {})
        self._authorized_keys()
        self._network_files()
        region = str(self._variables.get("edgenode_region", ""))
        if role is Role.WORKER and not region:
            self._wrong("region", "a worker belongs to a region: write its name")
        if role is Role.EDGE and region:
            self._wrong("region", "an edge belongs to none: it is for hosts of the group workers")
        if role is Role.EDGE and "edgenode_firewall" not in self._variables:
            self._wrong(
                "firewall",
                "is missing: without it nothing but SSH is let in; write "
                "the networks of `management`",
            )
        for table in TABLES:
            if self._variables.get(PREFIX + table, table) is None:
                self._wrong(table, "is empty: write what belongs into it, or remove it")
        down = self._variables.get("edgenode_neighbors_down", ())
        if isinstance(down, str) or not isinstance(down, Sequence):
            self._wrong("neighbors_down", "must be a list of neighbors' names")
        return Node(
            host=self.host,
            role=role,
            name=str(self._variables.get("edgenode_name", self.host.split(".")[0])),
            login=(
                str(self._variables.get("ansible_host", self.host)),
                int(self._variables.get("ansible_port") or 22),
            ),
            region=region,
            maintenance_file=self._variables.get("edgenode_maintenance_file"),
            mesh=mesh,
            addresses=addresses,
            endpoint=self._endpoint(mesh or {}),
            allowed=(*(ip_network(address) for address in addresses), *behind),
            next_public_key=self._next_key(mesh or {}),
            tables={
                table: self._variables[PREFIX + table]
                for table in TABLES
                if PREFIX + table in self._variables
            },
            extra_peers=self._list("extra_peers"),
            extra_regions=self._list("extra_regions"),
            files={name: self._files(name) for name in FILES},
        )

    def _mesh_of_worker(self, mesh: Mapping[str, Any]) -> None:
        for key in mesh:
            if key not in MESH_OF_WORKER:
                near = difflib.get_close_matches(str(key), MESH_OF_WORKER, 1)
                known = f"known: {', '.join(MESH_OF_WORKER)}"
                hint = f'did you mean "{near[0]}"?' if near else known
                self._wrong(f"mesh.{key}", f"unknown key; {hint}")
        keepalive = 0.0
        if "keepalive" in mesh:
            try:
                keepalive = parse_duration(mesh["keepalive"])
            except ValueError as error:
                self._wrong("mesh.keepalive", f'"{mesh["keepalive"]}": {error}')
                return
        if mesh.get("endpoint") is None and not keepalive:
            self._wrong(
                "mesh.endpoint",
                "is missing: no edge could reach this worker (one behind NAT has a `keepalive`)",
            )

    def _authorized_keys(self) -> None:
        """Keys that are none would lock everybody out, on all nodes at once."""
        keys = self._variables.get("edgenode_authorized_keys") or ()
        if isinstance(keys, str) or not isinstance(keys, Sequence):
            self._wrong("authorized_keys", "must be a list of SSH public keys")
            return
        for n, key in enumerate(keys):
            for line in not_keys(str(key)):
                # Not the line itself: somebody's private key may be in it.
                self._wrong(
                    f"authorized_keys[{n}]",
                    f"of {len(line)} characters, is no whole SSH public key: write the line of "
                    "a .pub file",
                )

    def _network_files(self) -> None:
        for name in self._mapping("network_files") or {}:
            if not _NETWORK_FILE.fullmatch(str(name)):
                self._wrong(
                    "network_files",
                    f'"{name}" is no name of a file of systemd-networkd: write one such as '
                    '"10-uplink.network"',
                )

    def _endpoint(self, mesh: Mapping[str, Any]) -> Endpoint | NamedEndpoint | None:
        if mesh.get("endpoint") is None:
            return None
        found = self._each("mesh.endpoint", (mesh["endpoint"],), parse_mesh_endpoint)
        return found[0] if found else None

    def _next_key(self, mesh: Mapping[str, Any]) -> str:
        key = mesh.get("next_public_key") or ""
        try:
            if key:
                decode_key(str(key))
        except ValueError as error:
            self._wrong("mesh.next_public_key", f"{error}: `edgenode mesh next-key` prints it")
            return ""
        return str(key)

    def _mapping(self, name: str) -> Mapping[str, Any] | None:
        value = self._variables.get(PREFIX + name)
        if value is None or isinstance(value, Mapping):
            return value
        self._wrong(name, "must be a mapping (`key: value` lines)")
        return None

    def _files(self, name: str) -> tuple[str, ...]:
        found = self._mapping(name) or {}
        for file, content in found.items():
            if not isinstance(content, str):
                # 0123 is a number to YAML, and another one than it looks.
                self._wrong(name, f'"{file}" must be text: put it into quotes')
        return tuple(found)

    def _list(self, name: str) -> Sequence[Mapping[str, Any]]:
        value = self._variables.get(PREFIX + name) or ()
        if isinstance(value, Sequence) and all(isinstance(item, Mapping) for item in value):
            return value
        self._wrong(name, "must be a list of mappings (`- key: value` lines)")
        return ()

    def _each(self, name: str, values: Any, parse: Any) -> tuple[Any, ...]:
        if isinstance(values, str) or not isinstance(values, Sequence):
            self._wrong(name, "must be a list")
            return ()
        found = []
        for n, value in enumerate(values):
            try:
                found.append(parse(value))
            except ValueError as error:
                place = f"{name}[{n}]" if isinstance(values, list) else name
                self._wrong(place, f'"{value}": {error}')
        return tuple(found)

    def _wrong(self, name: str, what: str) -> None:
        self.problems.append(Problem(self.host, PREFIX + name, what))
