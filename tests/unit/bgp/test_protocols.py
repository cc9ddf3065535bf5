from __future__ import annotations

import time
from dataclasses import replace

import pytest

from edgenode.bgp.levels import Level
from edgenode.bgp.protocols import (
    Protocol,
    Session,
    agrees,
    level_in_force,
    parse_protocols,
    sessions,
)
from edgenode.bgp.replies import Reply, ReplyParser
from edgenode.config import Config

TABLE = b"""2002-Name       Proto      Table      State  Since         Info
1002-device1    Device     ---        up     2026-01-01T05:33:48
 web_v4_normal Static     master4    down   2026-01-01T05:33:55
 web_v4_drained Static     master4    up     2026-01-01T05:33:55  \n\
 web_v6_drained Static     master6    up     05:33:55.123
 dns_v4_normal Static     master4    up     2026-01-01 05:33:55
 transit_bgp BGP        ---        up     2026-01-01T05:33:49  Established   \n\
 transit_6_bgp BGP      ---        start  2026-01-01 05:33:49  Active        Socket: Connection refused
0000 \n"""  # noqa: E501


@pytest.fixture
def rows() -> dict[str, Protocol]:
    parser = ReplyParser()
    parser.feed(TABLE)
    reply = parser.next()
    assert isinstance(reply, Reply)
    return parse_protocols(reply)


def test_rows(rows: dict[str, Protocol]) -> None:
    assert len(rows) == 7
    assert rows["device1"] == Protocol("device1", "Device", "up", "2026-01-01T05:33:48", "")
    assert rows["dns_v4_normal"].since == "2026-01-01 05:33:55"
    assert rows["dns_v4_normal"].info == ""


def test_sessions(
    config: Config, rows: dict[str, Protocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        up, down = sessions(config.bgp.neighbors, rows)
    time.tzset()
    assert up == Session("transit", "Established", "2025-12-31T20:33:49Z")
    assert up.established
    assert down == Session(
        "transit-6", "Active", "2025-12-31T20:33:49Z", "Socket: Connection refused"
    )
    assert not down.established
    assert sessions(config.bgp.neighbors, {})[0].state == "absent"


def test_levels_in_force(config: Config, rows: dict[str, Protocol]) -> None:
    web, dns = config.groups
    assert level_in_force(web, rows) is Level.DRAINED
    assert agrees(web, Level.DRAINED, rows)
    assert level_in_force(dns, rows) is Level.NORMAL
    assert level_in_force(web, {}) is Level.WITHDRAWN


def test_families_that_differ_count_as_the_more_cautious(
    config: Config, rows: dict[str, Protocol]
) -> None:
    web = config.groups[0]
    rows["web_v6_drained"] = replace(rows["web_v6_drained"], state="down")
    assert level_in_force(web, rows) is Level.WITHDRAWN
    assert not agrees(web, Level.WITHDRAWN, rows)


def test_a_family_that_bird_does_not_know_says_nothing(
    config: Config, rows: dict[str, Protocol]
) -> None:
    web = config.groups[0]
    del rows["web_v6_drained"]
    assert level_in_force(web, rows) is Level.DRAINED, "the family that is there stands so"
    assert not agrees(web, Level.DRAINED, rows), "and the other one is missing"


def test_both_levels_enabled_is_the_preferred_one_and_not_in_order(
    config: Config, rows: dict[str, Protocol]
) -> None:
    dns = config.groups[1]
    normal = rows["dns_v4_normal"]
    rows["dns_v4_drained"] = Protocol("dns_v4_drained", "Static", "up", normal.since, "")
    assert level_in_force(dns, rows) is Level.DRAINED
    assert not agrees(dns, Level.DRAINED, rows)
