from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.table import (
    DEFAULT_DIALING,
    DEFAULT_LOGGING,
    DEFAULT_OUTLIERS,
    HELLO_TIMEOUT,
    Bind,
    Dialing,
    Logging,
    Outliers,
    RegionTargets,
    Service,
    Table,
    TableError,
    Target,
    join_endpoint,
    split_endpoint,
)

names = st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True)
addresses = st.ip_addresses()
ports = st.integers(1, 65535)
seconds = st.floats(0.001, 3600)


@st.composite
def limits(draw: st.DrawFn) -> tuple[int | None, int | None]:
    """A soft and a hard limit, in the right order."""
    soft, hard = (draw(st.none() | st.integers(1, 2_000_000)) for _ in range(2))
    return (min(soft, hard), max(soft, hard)) if soft and hard else (soft, hard)


@st.composite
def targets(draw: st.DrawFn) -> Target:
    return Target(
        draw(names),
        str(draw(addresses)),
        draw(ports),
        draw(st.integers(1, 1000)),
        *draw(limits()),
        draw(st.floats(0, 2e9)),
    )


@st.composite
def regions(draw: st.DrawFn) -> RegionTargets:
    workers = draw(st.lists(targets(), max_size=3, unique_by=lambda target: target.worker))
    return RegionTargets(draw(names), tuple(workers), *draw(limits()))


@st.composite
def outliers(draw: st.DrawFn) -> Outliers:
    base, longest = sorted((draw(seconds), draw(seconds)))
    return Outliers(draw(st.integers(0, 1000)), base, longest, draw(st.floats(0, 1)))


def some(*values: str) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), unique=True).map(tuple)


dialings = st.builds(Dialing, st.floats(0, 1), st.floats(0, 1000), seconds)

endpoints = st.tuples(addresses, ports).map(lambda pair: join_endpoint(*pair))


@st.composite
def tables(draw: st.DrawFn) -> Table:
    listen = draw(st.lists(endpoints, max_size=6, unique=True))
    services = draw(st.lists(names, max_size=3, unique=True))
    return Table(
        draw(st.integers(0, 2**63 - 1)),
        draw(names),
        Bind(
            draw(st.none() | names.map(lambda name: name[:15])),
            draw(st.none() | st.ip_addresses(v=4).map(str)),
            draw(st.none() | st.ip_addresses(v=6).map(str)),
        ),
        tuple(
            Service(
                name,
                tuple(listen[index :: len(services)]),
                draw(st.sampled_from(("v2", "v1", "none"))),
                draw(seconds),
                draw(seconds),
                tuple(draw(st.lists(regions(), max_size=3, unique_by=lambda one: one.region))),
                draw(st.just(0.0) | seconds),
                sni=draw(some("a.example", "*.example.net")),
                alpn=draw(some("h2", "http/1.1")),
                hello_timeout=draw(st.just(HELLO_TIMEOUT) | seconds),
                accept_proxy=draw(some("192.0.2.0/24", "2001:db8::/32")),
                proxy_tlvs=draw(some("authority", "alpn", "unique-id", "crc32c")),
                hedge=draw(st.booleans()),
                warm=draw(st.integers(0, 256)),
                client_first=draw(st.booleans()),
                dead=tuple(draw(st.lists(regions(), max_size=1))),
            )
            for index, name in enumerate(services)
        ),
        draw(st.just(DEFAULT_OUTLIERS) | outliers()),
        draw(st.just(DEFAULT_DIALING) | dialings),
        draw(st.just(DEFAULT_LOGGING) | st.builds(Logging, st.floats(0, 1), st.floats(0, 1e6))),
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(tables())
def test_round_trip_through_json(table: Table) -> None:
    assert Table.from_json(json.loads(json.dumps(table.to_json()))) == table


@given(json_values)
def test_any_other_value_is_refused(value: object) -> None:
    with pytest.raises(TableError):
        Table.from_json(value)


@given(tables(), json_values, st.data())
def test_a_broken_part_is_refused_or_harmless(table: Table, value: object, data: Any) -> None:
    """Whatever stands in the place of one part: a table that is taken is a good one."""
    broken = json.loads(json.dumps(table.to_json()))
    here: Any = broken
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if not isinstance(here[key], dict | list) or data.draw(st.booleans()):
            here[key] = value
            break
        here = here[key]
    try:
        taken = Table.from_json(broken)
    except TableError:
        return
    assert Table.from_json(taken.to_json()) == taken


def valid() -> dict[str, Any]:
    return {
        "revision": 3,
        "node": "lon1",
        "bind": {"device": "wg0", "ipv4": "198.51.100.193", "ipv6": None},
        "services": [
            {
                "name": "web",
                "listen": ["203.0.113.1:80", "[2001:DB8::0:1]:80"],
                "proxy_protocol": "v2",
                "connect_timeout": 1,
                "idle_timeout": 300.0,
                "regions": [
                    {
                        "region": "fra",
                        "workers": [{"worker": "a", "address": "198.51.100.201", "port": 8080}],
                    }
                ],
            }
        ],
    }


def test_addresses_become_canonical() -> None:
    table = Table.from_json(valid())
    assert table.listen == ("203.0.113.1:80", "[2001:db8::1]:80")
    assert table.services[0].connect_timeout == 1.0


def test_a_table_of_an_older_edgenode_loads() -> None:
    table = Table.from_json(valid())
    assert table.outliers == Outliers(5, 30.0, 300.0, 0.5)
    service = table.services[0]
    assert (service.slow_start, service.hello_timeout) == (0.0, 5.0)
    assert (service.sni, service.alpn, service.accept_proxy) == ((), (), ())
    assert service.proxy_tlvs == ()
    assert (table.dialing, service.hedge) == (Dialing(0.2, 10.0, 20.0), True)
    assert service.warm == 0
    assert table.services[0].regions[0] == RegionTargets(
        "fra", (Target("a", "198.51.100.201", 8080, 1, None, None, 0.0),), None, None
    )


def test_an_older_edgenode_takes_a_table_that_asks_for_nothing_new() -> None:
    table = Table.from_json(valid()).to_json()
    assert table.keys() == valid().keys()
    old, new = valid()["services"][0], table["services"][0]
    assert new.keys() == old.keys()
    assert new["regions"] == old["regions"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["revision"], True, "revision: True is not a whole number"),
        (["node"], "Lon1", "node: 'Lon1' is not a name"),
        (["bind", "device"], "a/b", "bind.device: 'a/b' is not the name of a network device"),
        (["bind", "ipv4"], "2001:db8::1", "bind.ipv4: '2001:db8::1' is not an IPv4 address"),
        (["services", 0, "listen", 0], "203.0.113.1", "listen.0.: "),
        (["services", 0, "listen", 0], "203.0.113.1:0", "port '0' is not between 1 and 65535"),
        (["services", 0, "listen", 0], "[2001:db8::1]:80", "the address .* is there twice"),
        (["services", 0, "proxy_protocol"], "v3", "'v3' is neither 'v2', 'v1' nor 'none'"),
        (["services", 0, "sni"], ["A.example"], "sni: 'A.example' is not a server name"),
        (["services", 0, "sni"], ["a.example"] * 2, "sni: the value a.example is there twice"),
        (["services", 0, "sni"], "a.example", "sni: expected a list, got str"),
        (["services", 0, "alpn"], ["h 2"], "alpn: 'h 2' is not a protocol's name"),
        (["services", 0, "hello_timeout"], 0, "hello_timeout: 0 is not a time"),
        (["services", 0, "accept_proxy"], ["192.0.2.1/24"], "'192.0.2.1/24' is not a prefix"),
        (["services", 0, "proxy_tlvs"], ["ssl"], "proxy_tlvs: 'ssl' is not known"),
        (["services", 0, "connect_timeout"], 0, r"\(web\).connect_timeout: 0 is not a time"),
        (["services", 0, "idle_timeout"], float("inf"), "idle_timeout: inf is not a time"),
        (["services", 0, "idle_timeout"], float("nan"), "idle_timeout: nan is not a time"),
        (["services", 0, "idle_timeout"], 10**400, "idle_timeout: 1000.* is not a time"),
        (["revision"], 10**400, "revision: 1000.* is not a whole number"),
        (["services", 0, "regions", 0, "weight"], 1, "the key 'weight' is unknown"),
        (["services", 0, "regions", 0, "workers", 0, "port"], 70000, r"\(fra\).*port: 70000"),
        (
            ["services", 0, "protection"],
            {"deny": ["x"]},
            r"\(web\).protection: 'x' is not a prefix",
        ),
        (["services", 0, "protection"], {"deny": [7]}, "deny: expected a prefix, got int"),
        (["services", 0, "protection"], {"rate": -1}, "protection.rate: -1 is not a number"),
        (["services", 0, "protection"], {"colour": 1}, "protection: the key 'colour' is unknown"),
        (["services", 0, "protection"], {"source_prefix_v4": 33}, "source_prefix_v4: 33 is not"),
        (["services", 0, "slow_start"], -1, r"\(web\).slow_start: -1 is not a number"),
        (["services", 0, "regions", 0, "hard_limit"], 0, "hard_limit: 0 is not a whole number"),
        (["services", 0, "regions", 0, "workers", 0, "weight"], 0, "weight: 0 is not a whole"),
        (["services", 0, "regions", 0, "workers", 0, "since"], float("nan"), "since: nan is not"),
        (["outliers"], {"max_share": 1.5}, "max_share: 1.5 is not a number between 0 and 1"),
        (["outliers"], {"max_time": 29}, "base_time is above max_time"),
        (["logging"], {"sample": 1.5}, "logging.sample: 1.5 is not a number between 0 and 1"),
        (["logging"], {"file": "/x"}, "logging: the key 'file' is unknown"),
        (["outliers"], {"sigma": 3}, "outliers: the key 'sigma' is unknown"),
        (["dialing"], {"hedge_share": 1.5}, "hedge_share: 1.5 is not a number between 0 and 1"),
        (["dialing"], {"hedge_floor": -1}, "hedge_floor: -1 is not a number"),
        (["dialing"], {"warm_age": 0}, "warm_age: 0 is not a time"),
        (
            ["services", 0, "warm"],
            257,
            r"\(web\).warm: 257 is not a whole number between 0 and 256",
        ),
        (["services", 0, "hedge"], 1, r"\(web\).hedge: 1 is neither true nor false"),
        (["services"], {}, "services: expected a list, got dict"),
    ],
)
def test_the_error_says_where_and_why(path: list[Any], value: object, message: str) -> None:
    table: Any = valid()
    here = table
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    with pytest.raises(TableError, match=message):
        Table.from_json(table)


def test_limits_that_contradict_each_other_are_refused() -> None:
    table = valid()
    table["services"][0]["regions"][0] |= {"soft_limit": 20, "hard_limit": 10}
    with pytest.raises(TableError, match=r"\(fra\): the soft_limit 20 is above hard_limit 10"):
        Table.from_json(table)


def sharing(**keys: object) -> dict[str, Any]:
    """A second service on the addresses of the first, with these keys."""
    table = valid()
    table["services"].append(table["services"][0] | {"name": "api"} | keys)
    return table


def test_services_share_an_address_that_tells_them_apart() -> None:
    table = Table.from_json(sharing(sni=["api.example"]))
    assert table.listen == ("203.0.113.1:80", "[2001:db8::1]:80")
    assert Table.from_json(json.loads(json.dumps(table.to_json()))) == table
    Table.from_json(sharing(alpn=["h2"]))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, r"services \(api\).listen: service \"web\" listens on .* neither has `sni` or `alpn`"),
        ({"sni": ["a"], "accept_proxy": ["192.0.2.0/24"]}, "accept_proxy: must be as of .*web"),
        ({"sni": ["a"], "hello_timeout": 1}, "hello_timeout: must be as of service .*web"),
    ],
)
def test_services_that_nothing_tells_apart_are_refused(
    keys: dict[str, object], message: str
) -> None:
    with pytest.raises(TableError, match=message):
        Table.from_json(sharing(**keys))


def test_a_missing_key_is_named() -> None:
    table = valid()
    del table["services"][0]["regions"]
    with pytest.raises(TableError, match=r"services\[0\]: the key 'regions' is missing"):
        Table.from_json(table)


@given(endpoints)
def test_endpoint_round_trip(text: str) -> None:
    assert join_endpoint(*split_endpoint(text)) == text


@pytest.mark.parametrize(
    "text", ["", ":80", "192.0.2.1", "2001:db8::1:80", "[192.0.2.1]:80", "192.0.2.1:+80", "a:80"]
)
def test_bad_endpoints(text: str) -> None:
    with pytest.raises(ValueError):
        split_endpoint(text)


def test_a_message_is_short_whatever_it_shows() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, "x" * 100_000, [deep] * 1000):
        with pytest.raises(TableError) as caught:
            Table.from_json(valid() | {"node": value})
        assert len(str(caught.value)) < 500
