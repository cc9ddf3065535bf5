"""Labs of the tests: names of their own, and edges with a plain BIRD and nginx."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgenode.lab import Lab, build, netns
from edgenode.lab.nodes import edge, transit
from edgenode.lab.topology import GROUPS, Edge, Transit
from edgenode.lab.waiting import wait_until
from tests.lab.lab.naming import unique_name


@pytest.fixture
def lab_name() -> str:
    return unique_name()


_PLAIN = """\
router id {router_id};
protocol device {{}}
{statics}
{sessions}
"""

_STATIC = """\
protocol static {name}{version} {{ {state} ipv{version}; route {prefix} blackhole {attributes}; }}
"""

_SESSION = """\
protocol bgp transit{version} {{
    local {local} as {asn}; neighbor {remote} as {remote_asn};
    hold time 9; connect delay time 0; connect retry time 1; error wait time 1, 2;
    ipv{version} {{ import none; export filter {{
        if defined(bgp_med) && bgp_med = 1 then {{ unset(bgp_med); bgp_path.prepend({asn}); }}
        accept;
    }}; }};
}}
"""

_DRAINED = "{ bgp_community.add((65535,0)); preference = 90; }"
# The export filter takes this MED for "prepend once".
_PREPENDED = "{ bgp_med = 1; preference = 80; }"


def plain_bird(lab: Lab, node: Edge) -> str:
    """An edge's BIRD: each group in three forms, of which the first is enabled, and prefixes
    that a transit must not take."""
    link = lab.topology.uplink(node.name)
    own, there = link.end(node.name), link.other(node.name)
    router = lab.topology.node(there.node)
    assert isinstance(router, Transit)
    forms = (
        ("", "", ""),
        ("_drained", "disabled;", _DRAINED),
        ("_longer", "disabled;", _PREPENDED),
    )
    statics = [
        _STATIC.format(
            name=f"{group.name}{suffix}", version=v, state=state, prefix=prefix, attributes=attrs
        )
        for group in GROUPS
        for v, prefix in ((4, group.prefixes[0]), (6, group.prefixes[1]))
        for suffix, state, attrs in forms
    ]
    for version, prefix in ((4, "203.0.113.128/25"), (4, "0.0.0.0/0"), (6, "2001:db8:f::/48")):
        name = f"foreign_{prefix[0]}_"
        statics.append(
            _STATIC.format(name=name, version=version, state="", prefix=prefix, attributes="")
        )
    families = ((4, own.ipv4.ip, there.ipv4.ip), (6, own.ipv6.ip, there.ipv6.ip))
    sessions = [
        _SESSION.format(
            version=version, local=local, remote=remote, asn=node.asn, remote_asn=router.asn
        )
        for version, local, remote in families
    ]
    return _PLAIN.format(
        router_id=node.router_id, statics="".join(statics), sessions="".join(sessions)
    )


def start_plain_edge(lab: Lab, node: Edge) -> None:
    directory = lab.directory(node.name)
    addresses = [str(address) for group in GROUPS for address in group.addresses]
    netns.configure(lab.namespace(node.name), [f"addr add {a} dev lo" for a in addresses])
    (directory / "nginx.conf").write_text(edge.nginx(node, directory))
    lab.spawn(node.name, "nginx", build.nginx(directory / "nginx.conf"))
    (directory / "bird.conf").write_text(plain_bird(lab, node))
    lab.spawn(node.name, "bird", transit.bird(directory))


@pytest.fixture(scope="module")
def internet() -> Iterator[Lab]:
    """A whole lab whose edges announce both groups, and serve `static`, without edgenode."""
    with Lab(unique_name()) as lab:
        lab.up(edges=False)
        for node in lab.topology.edges:
            start_plain_edge(lab, node)
        lab.wait_sessions()
        for node in lab.topology.edges:
            lab.wait_announced(node.name)
        for user in lab.topology.users:
            lab.wait_served(user.name, GROUPS[1])
        yield lab


@pytest.fixture
def calm(internet: Lab) -> Iterator[Lab]:
    """The same, put back afterwards as it was."""
    yield internet
    for node in internet.topology.edges:
        for group in ("web", "static"):
            for version in (4, 6):
                internet.birdc(node.name, f"enable {group}{version}")
                for form in ("drained", "longer"):
                    internet.birdc(node.name, f"disable {group}_{form}{version}")
        if not internet.pids(node.name, "nginx"):
            internet.start(node.name, "nginx")
    for node in internet.topology.edges:
        internet.wait_announced(node.name)
    for user in internet.topology.users:
        nearest = internet.topology.edges_by_distance(user.name)[0]
        wait_until(
            lambda u=user.name, n=nearest: (
                internet.best_edge(  # type: ignore[misc]
                    internet.transit_of(u), GROUPS[1].prefixes[0]
                )
                == n
            ),
            10,
            f"{user.name} is back at {nearest}",
        )
