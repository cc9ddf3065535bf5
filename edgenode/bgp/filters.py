"""The filters of BIRD's configuration: what may leave to a neighbor, what may come in. Pure.

**What may leave.** Every session that we render has a filter of its own, and in each of them
nothing is accepted that is not a static route, of one of the configured prefixes at its exact
length, from a protocol that is called like one of ours: RFC 8212, and then some. All else that
the filters do is to add attributes. What an operator includes cannot change them, for BIRD
refuses a second definition of a name; and `config.includes` refuses the names that would let a
static protocol of another make pass for ours.

**MED.** Between the export filter and the neighbor BIRD 2 takes the MED off a route that has been
in an export table, where it forgets that the filter has set it (`fresh` in ``bgp_update_attrs`` and
``rte_update_out`` of 2.0.12). A route to a "route server client" it leaves as it is, and that is
what each neighbor is to it (`render`): our own AS number comes from the filter, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from edgenode.bgp.levels import STANDING, Level
from edgenode.bgp.names import export_name, import_name, kernel_name, prefixes_name
from edgenode.config import Config, Group, Neighbor
from edgenode.config.communities import BLACKHOLE, GRACEFUL_SHUTDOWN, Community
from edgenode.config.schema import Attributes
from edgenode.config.values import Network

Towards = frozenset[tuple[str, str]]
"""Pairs of a group and a neighbor: the group is degraded towards that neighbor alone."""

PATHS = 64
"""Routes of one prefix that are taken from one neighbor at most, to be looked at."""

DEFAULT_ROUTES: dict[int, Network] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def prefix_set(config: Config, version: int) -> str:
    """The constant with the prefixes that may be announced in a family; none: nothing."""
    prefixes = _of_family(config.groups, version)
    if not prefixes:  # BIRD has no empty set
        return ""
    return f"define {prefixes_name(version)} = [ {prefixes} ];\n"


def export_filter(config: Config, neighbor: Neighbor, towards: Towards) -> str:
    """What a neighbor gets, with the attributes of its own, the groups' and the level's."""
    version = neighbor.address.version
    head = f"filter {export_name(neighbor.name)}\n{{\n"
    if not _of_family(config.groups, version):
        return f"{head}  reject;\n}}\n"
    return (
        head
        + "  if source != RTS_STATIC then reject;\n"
        + f"  if !(net ~ {prefixes_name(version)}) then reject;\n"
        + f"  if !({' || '.join(_is(version, level) for level in STANDING)}) then reject;\n"
        + "".join(_prepend(config, 1, "  "))
        + "".join(_add(config.bgp.communities, "  "))
        + "".join(_attributes(config, neighbor, "  "))
        + "".join(_groups(config, version))
        + "".join(_levels(config, neighbor, towards))
        + ("" if neighbor.keep_blackhole else f"  {_delete(BLACKHOLE)} # BLACKHOLE, RFC 7999\n")
        + "  accept;\n}\n"
    )


def import_limit(config: Config, neighbor: Neighbor) -> int:
    """How many routes may come in; 0: none is wanted."""
    view = PATHS * len(_seen(config, neighbor)) if neighbor.last_site_view else 0
    return view + (neighbor.default_limit if neighbor.default_route else 0)


def import_filter(config: Config, neighbor: Neighbor) -> str:
    """A default route, and our own prefixes to look at, where that is asked for.

    What is to be looked at is of the least preference, goes to no neighbor (only static routes
    do) and into no kernel's table (only a default route does).
    """
    if not import_limit(config, neighbor):
        return ""
    text = f"filter {import_name(neighbor.name)}\n{{\n"
    if neighbor.default_route:
        default = DEFAULT_ROUTES[neighbor.address.version]
        text += f"  if net = {default} then accept;\n"
    if neighbor.last_site_view and _seen(config, neighbor):
        text += (
            f"  if net ~ {prefixes_name(neighbor.address.version)} then {{\n"
            "    preference = 1;\n"
            "    accept;\n"
            "  }\n"
        )
    return text + "  reject;\n}\n"


def _seen(config: Config, neighbor: Neighbor) -> list[Network]:
    version = neighbor.address.version
    return [p for group in config.groups for p in group.prefixes if p.version == version]


def kernel_protocol(version: int) -> str:
    """Into the kernel's table goes a default route that a neighbor gave, and nothing else."""
    return (
        f"protocol kernel {kernel_name(version)} {{\n"
        f"  ipv{version} {{\n"
        "    import none;\n"
        "    export filter {\n"
        "      if source != RTS_BGP then reject;\n"
        f"      if net = {DEFAULT_ROUTES[version]} then accept;\n"
        "      reject;\n"
        "    };\n"
        "  };\n"
        "}\n"
    )


def _groups(config: Config, version: int) -> Iterator[str]:
    """Groups that carry the same share one test: there may be a thousand of them."""
    alike: dict[tuple[object, ...], list[Group]] = {}
    for group in config.groups:
        if group.med is not None or group.prepend or group.communities:
            alike.setdefault((group.med, group.prepend, group.communities), []).append(group)
    for groups in alike.values():
        if prefixes := _of_family(groups, version):
            yield f"  if net ~ [ {prefixes} ] then {{\n"
            yield from _attributes(config, groups[0], "    ")
            yield "  }\n"


def _levels(config: Config, neighbor: Neighbor, towards: Towards) -> Iterator[str]:
    version = neighbor.address.version
    yield f"  if {_is(version, Level.DRAINED)} then {{\n"
    yield f"    {_added(GRACEFUL_SHUTDOWN)} # GRACEFUL_SHUTDOWN, RFC 8326\n"
    yield from _prepend(config, config.bgp.drain_prepend, "    ")
    here = [group for group in config.groups if (group.name, neighbor.name) in towards]
    only_here = f" || net ~ [ {prefixes} ]" if (prefixes := _of_family(here, version)) else ""
    yield f"  }} else if ({_is(version, Level.DEGRADED)}{only_here}) then {{\n"
    if more := config.degraded.med:
        yield f"    if defined(bgp_med) then bgp_med = bgp_med + {more};\n"
        yield f"    else bgp_med = {more};\n"
    yield from _prepend(config, config.degraded.prepend, "    ")
    yield "  }\n"


def _attributes(config: Config, of: Attributes, indent: str) -> Iterator[str]:
    if of.med is not None:
        yield f"{indent}bgp_med = {of.med};\n"
    yield from _prepend(config, of.prepend, indent)
    yield from _add(of.communities, indent)


def _prepend(config: Config, count: int, indent: str) -> Iterator[str]:
    for _ in range(count):
        yield f"{indent}bgp_path.prepend({config.bgp.asn});\n"


def _add(communities: Iterable[Community], indent: str) -> Iterator[str]:
    for community in communities:
        yield f"{indent}{_added(community)}\n"


def _added(community: Community) -> str:
    return f"{_list(community)}.add({_tuple(community)});"


def _delete(community: Community) -> str:
    return f"{_list(community)}.delete({_tuple(community)});"


def _list(community: Community) -> str:
    return "bgp_large_community" if community.large else "bgp_community"


def _tuple(community: Community) -> str:
    return f"({', '.join(map(str, community.parts))})"


def _is(version: int, level: Level) -> str:
    return f'proto ~ "*_v{version}_{level}"'


def _of_family(groups: Iterable[Group], version: int) -> str:
    prefixes = (prefix for group in groups for prefix in group.prefixes)
    return ", ".join(str(prefix) for prefix in prefixes if prefix.version == version)
