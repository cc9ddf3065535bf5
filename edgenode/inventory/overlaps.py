"""What clashes between nodes: each alone may be right. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from edgenode.config.values import Endpoint, Network, parse_network
from edgenode.inventory.nodes import PREFIX, SECRETS, Fleet, Node, Problem, Role


def overlaps(fleet: Fleet) -> Iterator[Problem]:
    """Names, router ids, mesh addresses and ranges that two nodes have, and secrets that lack."""
    every = fleet.nodes
    yield from _twice("edgenode_name", [(node, node.name) for node in every], "the name")
    yield from _twice("ansible_host", [(node, node.login) for node in every], "the login")
    yield from _twice(
        "edgenode_bgp.router_id",
        [
            (node, str(bgp["router_id"]))
            for node in fleet.edges()
            if isinstance(bgp := node.tables.get("bgp"), dict) and "router_id" in bgp
        ],
        "the router id",
    )
    yield from _twice(
        "edgenode_mesh.addresses",
        [(node, address) for node in every for address in node.addresses],
        "the mesh address",
    )
    yield from _twice(
        "edgenode_mesh.endpoint",
        [(node, node.endpoint) for node in every if node.endpoint],
        "the endpoint",
    )
    yield from _ranges(fleet)
    yield from _anycast(fleet)
    yield from _secrets(fleet)
    yield from _files(fleet)


def _twice(variable: str, values: Sequence[tuple[Node, Any]], what: str) -> Iterator[Problem]:
    first: dict[Hashable, Node] = {}
    for node, value in values:
        other = first.setdefault(value, node)
        if other is not node:
            shown = f"{value[0]}:{value[1]}" if isinstance(value, tuple) else value
            yield Problem(
                node.host, variable, f"{what} {shown} is {other.host}'s already: write another"
            )


def _ranges(fleet: Fleet) -> Iterator[Problem]:
    """WireGuard sends an address to one peer only: a range that two have goes to the last one.

    An address that two nodes have is said once, by `_twice`.
    """
    ranges = [(node, network) for node in fleet.nodes for network in node.allowed]
    for n, (node, network) in enumerate(ranges):
        for other, theirs in ranges[:n]:
            if other is node or (network == theirs and network.prefixlen == network.max_prefixlen):
                continue
            if _overlap(network, theirs):
                what = f"{network} overlaps {theirs} of {other.host}: one of them would get nothing"
                yield Problem(node.host, "edgenode_mesh.allowed", what)


def _anycast(fleet: Fleet) -> Iterator[Problem]:
    """Every edge has a blackhole route for its prefixes: nothing of the mesh may lie in them."""
    for edge in fleet.edges():
        for place, prefix in _prefixes(edge):
            for node in fleet.nodes:
                for network in node.allowed:
                    if _overlap(prefix, network):
                        yield Problem(
                            edge.host,
                            place,
                            f"the anycast prefix {prefix} overlaps {network}, which is "
                            f"{node.host}'s in the mesh: its blackhole would cut it off",
                        )
                if isinstance(node.endpoint, Endpoint) and node.endpoint.host in prefix:
                    yield Problem(
                        edge.host,
                        place,
                        f"the anycast prefix {prefix} holds {node.host}'s endpoint "
                        f"{node.endpoint}: its blackhole would cut it off",
                    )


def _prefixes(edge: Node) -> Iterator[tuple[str, Network]]:
    """What is no prefix is for `check-config` to say."""
    groups = edge.tables.get("groups")
    for g, group in enumerate(groups if isinstance(groups, list) else ()):
        prefixes = group.get("prefixes") if isinstance(group, dict) else ()
        for p, text in enumerate(prefixes if isinstance(prefixes, list) else ()):
            try:
                yield f"edgenode_groups[{g}].prefixes[{p}]", parse_network(text)
            except ValueError:
                continue


def _secrets(fleet: Fleet) -> Iterator[Problem]:
    """A password's file that nobody writes would keep its session down."""
    for edge in fleet.edges():
        bgp = edge.tables.get("bgp")
        neighbors = bgp.get("neighbors") if isinstance(bgp, dict) else ()
        for n, neighbor in enumerate(neighbors if isinstance(neighbors, list) else ()):
            file = neighbor.get("password_file", "") if isinstance(neighbor, dict) else ""
            if isinstance(file, str) and file.startswith(SECRETS):
                name = file.removeprefix(SECRETS)
                if name not in edge.files["secrets"]:
                    yield Problem(
                        edge.host,
                        f"edgenode_bgp.neighbors[{n}].password_file",
                        f"edgenode_secrets has no {name}: add it to the vaulted variables",
                    )


def _files(fleet: Fleet) -> Iterator[Problem]:
    for node in fleet.nodes:
        for variable, names in node.files.items():
            for name in names:
                if "/" in name or name in {"", ".", ".."}:
                    yield Problem(node.host, PREFIX + variable, f'"{name}" is no file\'s name')
            if node.role is Role.WORKER and names:
                yield Problem(node.host, PREFIX + variable, "a worker has none: they are for edges")


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
