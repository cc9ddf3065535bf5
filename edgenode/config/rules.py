"""Rules that span sections: references, overlaps, duplicates. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from edgenode import places
from edgenode.config import (
    bgp,
    checkrules,
    collisions,
    firewall,
    meshrules,
    policy,
    registryrules,
    siblings,
    steeringrules,
)
from edgenode.config.checkrules import SOCKET_PATH
from edgenode.config.errors import KeyPath, Problem, duplicates, spell
from edgenode.config.networks import overlaps
from edgenode.config.references import no_such, undefined
from edgenode.config.schema import Config
from edgenode.config.values import PLAIN_PATH, Address, Network


def check(config: Config) -> Iterator[Problem]:
    """Everything that is wrong with a configuration whose schema is right."""
    yield from collisions.check(config)
    yield from firewall.check(config)
    yield from checkrules.check(config)
    yield from _files(config)
    yield from _names(config)
    yield from _groups(config)
    yield from policy.check(config)
    yield from _references(config)
    yield from _services(config)
    yield from steeringrules.check(config)
    yield from bgp.check(config)
    if config.mesh:
        yield from meshrules.check(config.mesh)
    yield from siblings.check(config)
    yield from _workers(config)
    yield from registryrules.check(config)


def _files(config: Config) -> Iterator[Problem]:
    longest = places.lifeline_socket(config.node.run_dir)
    if (length := len(os.fsencode(longest))) > SOCKET_PATH:
        what = f"{longest} has {length} bytes, a socket's path at most {SOCKET_PATH}: shorten it"
        yield Problem(("node", "run_dir"), what)
    if (length := len(os.fsencode(config.bgp.socket))) > SOCKET_PATH:
        what = f"has {length} bytes, a socket's path at most {SOCKET_PATH}"
        yield Problem(("bgp", "socket"), what)
    if not PLAIN_PATH.fullmatch(str(config.bgp.config)):
        what = f'"{config.bgp.config}" may have at most 255 letters, digits and _.+-/ only'
        yield Problem(("bgp", "config"), what)


def _names(config: Config) -> Iterator[Problem]:
    workers = [
        (("regions", r, "workers", w, "name"), worker.name)
        for r, region in enumerate(config.regions)
        for w, worker in enumerate(region.workers)
    ]
    yield from duplicates("worker", workers)
    sections: dict[str, Iterable[str]] = {
        "groups": (g.name for g in config.groups),
        "checks": (c.name for c in config.checks),
        "hooks": (h.name for h in config.hooks),
        "services": (s.name for s in config.services),
        "regions": (r.name for r in config.regions),
    }
    for section, names in sections.items():
        keyed = [((section, position, "name"), name) for position, name in enumerate(names)]
        yield from duplicates(section[:-1], keyed)
    neighbors: list[tuple[KeyPath, object]] = [
        (("bgp", "neighbors", n, "name"), neighbor.name)
        for n, neighbor in enumerate(config.bgp.neighbors)
    ]
    yield from duplicates("neighbor", neighbors)


def _groups(config: Config) -> Iterator[Problem]:
    prefixes: list[tuple[KeyPath, Network]] = [
        (("groups", g, "prefixes", p), prefix)
        for g, group in enumerate(config.groups)
        for p, prefix in enumerate(group.prefixes)
    ]
    for (first_key, first), (key, second) in overlaps(prefixes):
        what = "is already there" if first == second else "overlaps"
        yield Problem(key, f"{second} {what}: {first} stands at {spell(first_key)}")
    addresses: list[tuple[KeyPath, object]] = []
    for g, group in enumerate(config.groups):
        for a, address in enumerate(group.addresses):
            place: KeyPath = ("groups", g, "addresses", a)
            addresses.append((place, address))
            if not _inside(address, group.prefixes):
                inside = ", ".join(map(str, group.prefixes))
                yield Problem(place, f"{address} is not inside the group's prefixes ({inside})")
    yield from duplicates("address", addresses)


def _inside(address: Address, prefixes: Iterable[Network]) -> bool:
    return any(address.version == prefix.version and address in prefix for prefix in prefixes)


def _references(config: Config) -> Iterator[Problem]:
    checks = [check.name for check in config.checks]
    for g, group in enumerate(config.groups):
        yield from undefined("check", checks, group.checks, ("groups", g, "checks"))
        for r, rule in enumerate(group.rules):
            key: KeyPath = ("groups", g, "rules", r)
            yield from undefined("check", checks, rule.checks, (*key, "checks"))
        if not config.checks_of(group.name) and not config.services_of(group.name):
            yield Problem(
                ("groups", g),
                f'group "{group.name}" has neither a check nor a steered service: '
                "nothing would ever withdraw it; give it a check",
                depends=("services",),
            )
    regions = [region.name for region in config.regions]
    groups = [group.name for group in config.groups]
    for s, service in enumerate(config.services):
        yield from undefined("region", regions, service.regions, ("services", s, "regions"))
        if service.group not in groups:
            what = no_such("group", service.group, groups)
            yield Problem(("services", s, "group"), what, depends=("groups",))
    used = {name for group in config.groups for name in config.checks_of(group.name)}
    for c, check_ in enumerate(config.checks):
        if check_.name not in used:
            what = f'no group asks for check "{check_.name}"'
            yield Problem(("checks", c, "name"), what, depends=("groups",))


def _services(config: Config) -> Iterator[Problem]:
    groups = {group.name: group for group in config.groups}
    for s, service in enumerate(config.services):
        endpoints: list[tuple[KeyPath, object]] = []
        if not config.regions:
            what = f'service "{service.name}" has no region to steer to'
            yield Problem(("services", s), what, depends=("regions",))
        elif not config.mesh:
            yield Problem(("services", s), "a steered service needs a [mesh] to reach its regions")
        group = groups.get(service.group)
        for position, endpoint in enumerate(service.listen):
            key: KeyPath = ("services", s, "listen", position)
            endpoints.append((key, endpoint))
            if group and endpoint.host not in group.addresses:
                yield Problem(
                    key,
                    f'{endpoint.host} is not among the addresses of group "{group.name}"',
                    depends=("groups",),
                )
        yield from duplicates("listen address", endpoints)


def _workers(config: Config) -> Iterator[Problem]:
    peers = config.mesh.peers if config.mesh else ()
    reachable = [network for peer in peers for network in peer.allowed]
    addresses: list[tuple[KeyPath, object]] = []
    for r, region in enumerate(config.regions):
        for w, worker in enumerate(region.workers):
            for a, address in enumerate(worker.addresses):
                key: KeyPath = ("regions", r, "workers", w, "addresses", a)
                addresses.append((key, address))
                if config.mesh and not _inside(address, reachable):
                    host = ip_network(address)
                    what = f"no mesh peer has {host} in its allowed addresses"
                    yield Problem(key, what, depends=("mesh", "peers"))
                if config.mesh and address.version not in {
                    own.version for own in config.mesh.addresses
                }:
                    yield Problem(
                        key,
                        f"the node has no IPv{address.version} mesh address to reach it from",
                        depends=("mesh", "addresses"),
                    )
    yield from duplicates("worker address", addresses)
