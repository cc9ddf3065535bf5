"""What our text lets pass, run by a second reading of BIRD's language (`birdfilter`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.bgp.levels import STANDING, Level
from edgenode.bgp.names import export_name, import_name, kernel_name, session_name, static_name
from edgenode.bgp.render import render
from edgenode.config import Config, Group, Neighbor
from tests.unit.bgp.birdfilter import Route, accepts, body, sets
from tests.unit.bgp.strategies import prefixes, raws, towards

MakeConfig = Callable[..., Config]
BLACKHOLE = (65535, 666)


def sent(text: str, neighbor: str, route: Route) -> bool:
    return accepts(body(text, f"filter {export_name(neighbor)}\n"), sets(text), route)


def own(config: Config) -> set[str]:
    return {str(prefix) for group in config.groups for prefix in group.prefixes}


# What another may call a protocol, and where a route may come from.
protocols = st.sampled_from(
    [
        "mine",
        "leak_v4_normal",
        "leak_v6_drained",
        "x_v4_degraded",
        "x_v4_normal_",
        "x_v5_normal",
        "",
    ]
)
sources = st.sampled_from(["RTS_STATIC", "RTS_BGP", "RTS_DEVICE", "RTS_INHERIT", "RTS_PIPE"])
nets = prefixes | st.sampled_from(
    ["0.0.0.0/0", "::/0", "192.0.2.0/25", "192.0.0.0/16", "2001:db8::/32", "2001:db8:1::/49"]
)


@given(raw=raws(), net=nets, proto=protocols, source=sources, data=st.data())
def test_nothing_but_our_prefixes_ever_passes(
    raw: dict[str, Any], net: str, proto: str, source: str, data: st.DataObject
) -> None:
    config = Config.model_validate(raw)
    text = render(config, {}, towards=data.draw(towards(raw)))
    for neighbor in config.bgp.neighbors:
        if sent(text, neighbor.name, Route(net, proto, source)):
            assert net in own(config)
            assert source == "RTS_STATIC"
            assert re.search(r"_v[46]_(normal|degraded|drained)$", proto)


@given(raw=raws(), data=st.data())
def test_each_session_has_just_these_filters(raw: dict[str, Any], data: st.DataObject) -> None:
    config = Config.model_validate(raw)
    text = render(config, {}, towards=data.draw(towards(raw)))
    assert (
        text.count("protocol bgp ")
        == text.count("  export filter ") - text.count("protocol kernel ")
        == len(config.bgp.neighbors)
    ), text
    for neighbor in config.bgp.neighbors:
        session = body(text, f"protocol bgp {session_name(neighbor.name)}")
        assert f"export filter {export_name(neighbor.name)};" in session
        imports = re.findall(r"\bimport (?!limit).*", session)
        default = "0.0.0.0/0" if neighbor.address.version == 4 else "::/0"
        looked_at = {p for p in own(config) if (":" in p) == (neighbor.address.version == 6)}
        wanted = {default} if neighbor.default_route else set()
        wanted |= looked_at if neighbor.last_site_view else set()
        if not wanted:
            assert imports == ["import none;"]
            continue
        assert imports == [f"import filter {import_name(neighbor.name)};"]
        taken = body(text, f"filter {import_name(neighbor.name)}\n")
        for net in {default, *own(config), "192.0.0.0/16", "2001:db8::/32"}:
            route = Route(net, "x", "RTS_BGP")
            assert accepts(taken, sets(text), route) == (net in wanted)
            assert route.preference == (1 if net in wanted - {default} else None)


@given(raw=raws(), source=sources)
def test_the_kernel_gets_a_default_route_of_a_neighbor_and_nothing_else(
    raw: dict[str, Any], source: str
) -> None:
    config = Config.model_validate(raw)
    text = render(config, {})
    asked = {n.address.version for n in config.bgp.neighbors if n.default_route}
    assert text.count("protocol kernel") == len(asked)
    for version in asked:
        protocol = body(text, f"protocol kernel {kernel_name(version)}")
        assert re.findall(r"import .*", protocol) == ["import none;"]
        exported = body(protocol, "export filter")
        default = "0.0.0.0/0" if version == 4 else "::/0"
        assert accepts(exported, {}, Route(default, "x", source)) == (source == "RTS_BGP")
        for net in own(config):
            assert not accepts(exported, {}, Route(net, "x", source))


@given(raw=raws(), level=st.sampled_from([*STANDING]), data=st.data())
def test_what_each_neighbor_gets(raw: dict[str, Any], level: Level, data: st.DataObject) -> None:
    config = Config.model_validate(raw)
    degraded = data.draw(towards(raw))
    text = render(config, {}, towards=degraded)
    for neighbor in config.bgp.neighbors:
        version = neighbor.address.version
        for group in config.groups:
            for prefix in group.prefixes:
                route = Route(str(prefix), static_name(group.name, prefix.version, level))
                if prefix.version != version:
                    # BIRD would not even ask: the session carries its own family.
                    assert not sent(text, neighbor.name, route)
                    continue
                assert sent(text, neighbor.name, route)
                here = (
                    Level.DEGRADED
                    if level is Level.NORMAL and (group.name, neighbor.name) in degraded
                    else level
                )
                assert route == expected(config, neighbor, group, here, route)


def expected(config: Config, neighbor: Neighbor, group: Group, level: Level, route: Route) -> Route:
    med = neighbor.med if group.med is None else group.med
    if level is Level.DEGRADED and config.degraded.med:
        med = (med or 0) + config.degraded.med
    more = {Level.DEGRADED: config.degraded.prepend, Level.DRAINED: config.bgp.drain_prepend}
    listed = {*config.bgp.communities, *neighbor.communities, *group.communities}
    standard = {c.parts for c in listed if not c.large}
    if level is Level.DRAINED:
        standard.add((65535, 0))
    if not neighbor.keep_blackhole:
        standard.discard(BLACKHOLE)
    return Route(
        route.net,
        route.proto,
        route.source,
        med,
        None,
        [config.bgp.asn] * (1 + neighbor.prepend + group.prepend + more.get(level, 0)),
        standard,
        {c.parts for c in listed if c.large},
    )


def test_blackhole_is_taken_off_whatever_carried_it(make_config: MakeConfig) -> None:
    config = make_config()
    text = render(config, {})
    route = Route("192.0.2.0/24", "dns_v4_normal", standard={BLACKHOLE, (1, 2)})
    assert sent(text, "transit", route)
    assert route.standard == {(1, 2)}


def test_a_pair_that_is_not_configured_changes_nothing(config: Config) -> None:
    gone = frozenset({("web", "gone"), ("gone", "transit")})
    assert render(config, {}, towards=gone) == render(config, {})


def test_only_the_neighbor_that_is_meant(config: Config) -> None:
    text = render(config, {}, towards=frozenset({("web", "transit")}))
    v4, v6 = Route("203.0.113.0/24", "web_v4_normal"), Route("2001:db8:113::/48", "web_v6_normal")
    dns = Route("192.0.2.0/24", "dns_v4_normal")
    assert sent(text, "transit", v4)
    assert sent(text, "transit", dns)
    assert sent(text, "transit-6", v6)
    assert (v4.med, len(v4.prepends)) == (100, 3)
    assert (v6.med, len(v6.prepends)) == (dns.med, len(dns.prepends)) == (None, 1)


@pytest.mark.parametrize("damage", ["if true then accept;", "net ~ [ 192.0.2.0/24+ ]", "case net"])
def test_the_second_reading_takes_nothing_that_it_does_not_know(damage: str) -> None:
    with pytest.raises((ValueError, AssertionError, KeyError)):
        accepts(f"if {damage} then accept; reject;", {}, Route("192.0.2.0/24", "x"))
