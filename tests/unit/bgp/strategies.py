"""Configurations of all kinds, as the schema takes them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from edgenode.config.bgp import BIRDS_OWN

names = st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True).filter(
    lambda name: name not in BIRDS_OWN
)
# BIRD's own words as names, and names that look like parts of ours, are the likely mistakes
words = st.sampled_from(
    [
        *("bgp", "static", "filter", "net", "if", "accept", "master4", "all", "bfd", "kernel"),
        *("v4", "web-v4-normal", "edgenode", "export", "edgenode-v4", "edgenode-v6-prefixes"),
    ]
)
v4 = st.ip_addresses(v=4, network="203.0.113.0/24").map(str)
v6 = st.ip_addresses(v=6, network="2001:db8::/32").map(str)
prefixes = st.builds(lambda n: f"192.0.{n}.0/24", st.integers(0, 255)) | st.builds(
    lambda n: f"2001:db8:{n:x}::/48", st.integers(0, 65535)
)
u32 = st.integers(0, 0xFFFFFFFF)
communities = st.lists(
    st.builds("{}:{}".format, st.integers(0, 65535), st.integers(0, 65535))
    | st.builds("{}:{}:{}".format, u32, u32, u32)
    | st.just("65535:666"),
    max_size=4,
    unique=True,
)
prepends = st.integers(0, 10)
meds = st.none() | st.integers(0, 0x7FFFFFFF)


def unique_names(count: int) -> st.SearchStrategy[list[str]]:
    return st.lists(names | words, min_size=count, max_size=count, unique=True)


@st.composite
def _neighbor(draw: st.DrawFn, name: str, address: str) -> dict[str, Any]:
    return {
        "name": name,
        "address": address,
        "asn": draw(
            st.integers(1, 4294967294).filter(lambda asn: asn not in {64701, 23456, 65535})
        ),
        "source": draw(st.just("203.0.113.1" if "." in address else "2001:db8::1")),
        "multihop": draw(st.none() | st.integers(2, 255)),
        "ttl_security": draw(st.booleans()),
        "password_file": draw(st.sampled_from([None, "/nonexistent"])),
        "bfd": draw(st.booleans()),
        "hold_time": draw(st.none() | st.floats(3, 3600)),
        "keep_blackhole": draw(st.booleans()),
        "default_route": draw(st.booleans()),
        "default_limit": draw(st.integers(1, 1000)),
        "last_site_view": draw(st.booleans()),
        "med": draw(meds),
        "prepend": draw(prepends),
        "communities": draw(communities),
    }


@st.composite
def raws(draw: st.DrawFn) -> dict[str, Any]:
    """Raw configurations that the schema takes; no rule across sections was asked."""
    count = draw(st.integers(1, 4))
    neighbors = [
        draw(_neighbor(name, address))
        for name, address in zip(
            draw(unique_names(count)),
            draw(st.lists(v4 | v6, min_size=count, max_size=count, unique=True)),
            strict=True,
        )
    ]
    taken = draw(st.lists(prefixes, min_size=1, max_size=6, unique=True))
    groups: list[dict[str, Any]] = []
    for name in draw(unique_names(draw(st.integers(1, 3)))):
        count = draw(st.integers(1, 2))
        if mine := [taken.pop() for _ in range(min(count, len(taken)))]:
            groups.append(
                {
                    "name": name,
                    "prefixes": mine,
                    "on_control_loss": draw(st.sampled_from(["withdraw", "keep"])),
                    "med": draw(meds),
                    "prepend": draw(prepends),
                    "communities": draw(communities),
                }
            )
    return {
        "node": {"name": "n"},
        "bgp": {
            "asn": 64701,
            "router_id": draw(v4),
            "hold_time": draw(st.integers(3, 3600)),
            "drain_prepend": draw(prepends),
            "communities": draw(communities),
            "neighbors": neighbors,
        },
        "degraded": {"prepend": draw(prepends), "med": draw(st.integers(0, 0x7FFFFFFF))},
        "lifeline": {
            "device": draw(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", fullmatch=True))
        },
        "groups": groups,
    }


@st.composite
def towards(draw: st.DrawFn, raw: dict[str, Any]) -> frozenset[tuple[str, str]]:
    """Which groups are degraded towards which neighbors alone."""
    pairs = [(g["name"], n["name"]) for g in raw["groups"] for n in raw["bgp"]["neighbors"]]
    return frozenset(draw(st.lists(st.sampled_from(pairs), unique=True)))
