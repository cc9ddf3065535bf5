"""What BIRD says, understood."""

from __future__ import annotations

import io

import pytest

from edgenode.lab import birdview

ROUTES = """\
Table master4:
203.0.113.0/24       unicast [nyc_v4 2026-11-24 05:47:35.135] * (100) [AS64700i]
	via 198.51.100.1 on to-nyc
	Type: BGP univ
	BGP.origin: IGP
	BGP.as_path: 64602 64700
	BGP.next_hop: 198.51.100.1
	BGP.med: 70000
	BGP.local_pref: 99930000
	BGP.large_community: (64602, 1, 2)
                     unicast [lon1_v4 2026-11-24 05:47:36.135] (100) [AS64700i]
	via 198.51.100.5 on to-lon1
	Type: BGP univ
	BGP.as_path: 64700 64700
	BGP.local_pref: 0
	BGP.community: (65535,0) (64700,7)
	BGP.large_community: (64601, 1, 1)
"""

PROTOCOLS = """\
Name       Proto      Table      State  Since         Info
device1    Device     ---        up     2026-11-24 05:47:34.014
lon_v4     BGP        ---        up     2026-11-24 05:47:35.023  Established
nyc1_v4    BGP        ---        start  2026-11-24 05:47:34.014  Active  Socket: refused
sin1_v6    BGP        ---        start  2026-11-24 05:47:34.014
"""


def test_routes() -> None:
    best, other = birdview.parse_routes(ROUTES, {1: "lon1", 2: "nyc1"})
    assert (best.prefix, best.protocol, best.best) == ("203.0.113.0/24", "nyc_v4", True)
    assert (best.as_path, best.med, best.local_pref) == ((64602, 64700), 70000, 99930000)
    assert (best.edge, best.drained) == ("nyc1", False)
    assert (other.prefix, other.protocol, other.best) == ("203.0.113.0/24", "lon1_v4", False)
    assert other.communities == {(65535, 0), (64700, 7)}
    assert (other.edge, other.drained, other.med) == ("lon1", True, None)
    assert birdview.parse_routes("Network not found\n", {}) == ()


def test_sessions() -> None:
    found = birdview.established(PROTOCOLS)
    assert found == {"lon_v4": True, "nyc1_v4": False, "sin1_v6": False}


def test_replies_end_where_a_code_and_a_space_stand() -> None:
    stream = io.StringIO("1007-Table\n via x\n+log line\n0000 \n0001 next\n")
    assert birdview._reply(stream.readline) == "Table\nvia x\n\n"
    assert birdview._reply(stream.readline) == "next\n"
    with pytest.raises(EOFError):
        birdview._reply(stream.readline)
