"""The inventory's hosts as nodes: names, mesh, region, and the variables that are ours."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_network
from typing import Any

from edgenode.config.values import (
    Address,
    Endpoint,
    Network,
    parse_address,
    parse_network,
)

PREFIX = "edgenode_"

TABLES = (
    "bgp",
    "degraded",
    "lifeline",
    "groups",
    "checks",
    "hooks",
    "services",
    "steering",
    "metrics",
    "firewall",
)
"""Tables of edgenode.toml that a variable of the same name holds as they are."""

COMMON = ("name", "mesh", "public_key", "authorized_keys", "network_files")
EDGE = (*TABLES, "extra_peers", "extra_regions", "secrets")
WORKER = ("region",)
PLAYBOOK = ("drain_timeout", "verify_timeout", "firewall_undo_after")
KNOWN = frozenset(PREFIX + name for name in (*COMMON, *EDGE, *WORKER, *PLAYBOOK))

MESH_OF_NODE = ("endpoint", "allowed", "keepalive")
"""Keys of `edgenode_mesh` that are for the other nodes' peers, not for the own [mesh]."""

SECRETS = "/etc/edgenode/secrets/"


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
    mesh: Mapping[str, Any] | None = None
    addresses: tuple[Address, ...] = ()
    """Mesh addresses."""
    endpoint: Endpoint | None = None
    allowed: tuple[Network, ...] = ()
    """What other nodes send to it: its mesh addresses, and ranges behind it."""
    tables: Mapping[str, Any] = field(default_factory=dict)
    """edgenode.toml's tables that the inventory holds as they are."""
    extra_peers: Sequence[Mapping[str, Any]] = ()
    extra_regions: Sequence[Mapping[str, Any]] = ()
    secrets: tuple[str, ...] = ()
    """Names, never contents."""


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
        return Node(
            host=self.host,
            role=role,
            name=str(self._variables.get("edgenode_name", self.host.split(".")[0])),
            login=(
                str(self._variables.get("ansible_host", self.host)),
                int(self._variables.get("ansible_port") or 22),
            ),
            region=region,
            mesh=mesh,
            addresses=addresses,
            endpoint=self._endpoint(mesh or {}),
            allowed=(*(ip_network(address) for address in addresses), *behind),
            tables={
                table: self._variables[PREFIX + table]
                for table in TABLES
                if PREFIX + table in self._variables
            },
            extra_peers=self._list("extra_peers"),
            extra_regions=self._list("extra_regions"),
            secrets=tuple(self._mapping("secrets") or ()),
        )

    def _endpoint(self, mesh: Mapping[str, Any]) -> Endpoint | None:
        if mesh.get("endpoint") is None:
            return None
        found = self._each("mesh.endpoint", (mesh["endpoint"],), Endpoint.parse)
        return found[0] if found else None

    def _mapping(self, name: str) -> Mapping[str, Any] | None:
        value = self._variables.get(PREFIX + name)
        if value is None or isinstance(value, Mapping):
            return value
        self._wrong(name, "must be a mapping (`key: value` lines)")
        return None

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
                place = name if name == "mesh.endpoint" else f"{name}[{n}]"
                self._wrong(place, f'"{value}": {error}')
        return tuple(found)

    def _wrong(self, name: str, what: str) -> None:
        self.problems.append(Problem(self.host, PREFIX + name, what))
