"""Neighbors, and what routes carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import loads
from edgenode.config.communities import Community
from tests.unit.config.test_config import GOOD, problems

NEIGHBOR = 'name = "transit-v4"\n'


def with_neighbor(lines: str) -> str:
    return GOOD.replace(NEIGHBOR, f"{NEIGHBOR}{lines}\n", 1)


def with_bgp(line: str) -> str:
    return GOOD.replace("asn = 64700\n", f"asn = 64700\n{line}\n", 1)


def with_group(line: str) -> str:
    return GOOD.replace('name = "web"\n', f'name = "web"\n{line}\n', 1)


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_standard_communities(high: int, low: int) -> None:
    community = Community.parse(f"{high}:{low}")
    assert (community.parts, community.large) == ((high, low), False)
    assert Community.parse(str(community)) == community


@given(st.tuples(*[st.integers(0, 0xFFFFFFFF)] * 3))
def test_large_communities(parts: tuple[int, int, int]) -> None:
    community = Community.parse(":".join(map(str, parts)))
    assert (community.parts, community.large) == (parts, True)
    assert Community.parse(str(community)) == community


@given(st.one_of(st.text(), st.integers(), st.none(), st.lists(st.integers())))
def test_what_is_no_community_is_refused_with_a_remedy(value: Any) -> None:
    try:
        community = Community.parse(value)
    except ValueError as error:
        assert 'write "64700:80"' in str(error)  # noqa: PT017
    else:
        assert len(community.parts) in (2, 3)


@pytest.mark.parametrize(
    "text", ["1", "1:2:3:4", "65536:1", "1:65536", "1:2:4294967296", "-1:2", "1:2 ", "٣:1", "1:"]
)
def test_numbers_that_do_not_fit(text: str) -> None:
    with pytest.raises(ValueError, match='write "64700:80"'):
        Community.parse(text)


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        (with_bgp('communities = ["1:2", "1:2"]'), "bgp.communities[1]", "already defined"),
        (with_bgp('communities = ["65535:0"]'), "bgp.communities[0]", "GRACEFUL_SHUTDOWN"),
        (with_bgp('communities = ["65535:666"]'), "bgp.communities[0]", "keep_blackhole"),
        (with_bgp('communities = ["1:2:3:4"]'), "bgp.communities[0]", "64700:1:2"),
        (with_group('communities = ["65535:666"]'), "groups[0].communities[0]", "keep_blackhole"),
        (with_neighbor('communities = ["65535:666"]'), "communities[0]", "keep_blackhole"),
        (with_group("med = -1"), "groups[0].med", "from 0 to"),
        (with_group("med = 2147483648"), "groups[0].med", "from 0 to 2147483647"),
        (with_group("prepend = 11"), "groups[0].prepend", "from 0 to 10"),
        (with_neighbor('hold_time = "1s"'), "hold_time", "from 3 s to"),
        (with_neighbor('bfd = "yes"'), "neighbors[0].bfd", "true or false"),
        (with_neighbor("default_limit = 0"), "default_limit", "from 1 to"),
        (with_neighbor("bfd = true\nmultihop = 2"), "neighbors[0].bfd", "set source"),
        (with_bgp('include = ["own.conf"]'), "bgp.include[0]", "is relative"),
        (with_bgp('include = ["/none/own.conf"]'), "bgp.include[0]", "cannot be read: No such"),
        (GOOD.replace('"2001:db8:1::3"', '"fe80::1%eth0"'), "address", "unique-local"),
        (GOOD.replace('"2001:db8:1::3"', '"fe80::1"'), "address", "link-local"),
        (GOOD + "[degraded]\nmed = 1.5\n", "degraded.med", "whole number"),
    ],
)
def test_what_is_refused_and_where(text: str, key: str, what: str) -> None:
    (line,) = problems(text)
    assert key in line
    assert what in line


def test_blackhole_where_it_is_asked_for() -> None:
    asked = 'keep_blackhole = true\ncommunities = ["65535:666"]'
    config = loads(with_neighbor(asked).replace('name = "web"\n', 'name = "web"\nmed = 0\n', 1))
    assert config.bgp.neighbors[0].keep_blackhole
    assert config.groups[0].med == 0


def test_a_unique_local_session_is_right() -> None:
    text = GOOD.replace('"2001:db8:1::3"', '"fd00::3"\nsource = "fd00::2"')
    assert loads(text)


def test_an_include_is_looked_through(tmp_path: Path) -> None:
    own = tmp_path / "own.conf"
    text = with_bgp(f'include = ["{own}"]')
    own.write_text("protocol static mine { ipv4; }\n")
    assert loads(text).bgp.include == (own,)
    own.write_text("\nprotocol static x_v4_normal { ipv4; }\n")
    (line,) = problems(text)
    assert f"{own}:2: names with" in line
    assert loads(text, check_secrets=False), "a machine on which it does not lie"
