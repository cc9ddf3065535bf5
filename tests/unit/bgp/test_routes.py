"""BIRD's words on routes, as 2.0.12 says them; and what follows for a drain and for a last site."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.bgp.lastsite import Outlook, View, another_site, judge
from edgenode.bgp.levels import Level
from edgenode.bgp.replies import Reply, ReplyParser
from edgenode.bgp.routes import Route, as_told, ask_received, ask_sent, parse_routes
from edgenode.config import Neighbor
from edgenode.config.values import parse_network

DRAINED = b"""\
1007-Table export:
 203.0.113.0/24       blackhole [w_v4_drained 11:51:57.997] * (210)
1008-\tType: static univ
1012-\tBGP.as_path: 64700 64700
 \tBGP.community: (65535,0) (64700,80)
0000 done
"""
RECEIVED = b"""\
1007-Table master4:
 192.0.2.0/24         unicast [t_bgp 11:51:54.961] * (1) [AS64700i]
 \tvia 198.51.100.3 on v0
1008-\tType: BGP univ
1012-\tBGP.origin: IGP
 \tBGP.as_path: 64601 64999 64700
 \tBGP.next_hop: 198.51.100.3
1007-                     unicast [t_bgp 11:51:54.961] (1) [AS64700i]
 \tvia 198.51.100.3 on v0
1008-\tType: BGP univ
1012-\tBGP.as_path: 64601 64700
 \tBGP.community: (65535,0)
1007-203.0.113.0/24       unicast [t_bgp 11:51:54.961] (1) [AS64700i]
1012-\tBGP.as_path: 64601 64700
0000 done
"""
BIRD3 = b"""\
1007-Table t.ipv4.export:
 2001:db8:113::/48    blackhole [w_v6_normal 11:51:57.997] * (200)
1012-\tbgp_path: 64700
 \tbgp_community: (65535, 0)
0000 done
"""
NO_TABLE = b"9001 No export table in channel t_bgp.ipv4\n"
NOTHING = b"8001 Network not found\n"

ASN = 64700
ONE = Neighbor.model_validate({"name": "one", "address": "198.51.100.3", "asn": 64601})
TWO = Neighbor.model_validate({"name": "two", "address": "198.51.100.5", "asn": 64602})
P, Q = "203.0.113.0/24", "192.0.2.0/24"


def reply(raw: bytes) -> Reply:
    parser = ReplyParser()
    parser.feed(raw)
    found = parser.next()
    assert isinstance(found, Reply)
    return found


def test_what_was_sent_is_read() -> None:
    (route,) = parse_routes(reply(DRAINED))
    assert (route.prefix, route.protocol, route.path) == (P, "w_v4_drained", (64700, 64700))
    assert route.communities == {(65535, 0), (64700, 80)}
    (route,) = parse_routes(reply(BIRD3))
    assert (route.prefix, route.path) == ("2001:db8:113::/48", (64700,))
    assert route.shutting_down


def test_several_paths_of_a_prefix_are_read() -> None:
    routes = parse_routes(reply(RECEIVED))
    assert [(route.prefix, route.path) for route in routes] == [
        (Q, (64601, 64999, 64700)),
        (Q, (64601, 64700)),
        (P, (64601, 64700)),
    ]
    assert [route.shutting_down for route in routes] == [False, True, False]


def test_nothing_there_is_an_answer_and_a_refusal_is_none() -> None:
    assert parse_routes(reply(NOTHING)) == []
    with pytest.raises(ValueError, match="No export table"):
        parse_routes(reply(NO_TABLE))


@given(st.lists(st.text(max_size=60).filter(lambda text: "\n" not in text)))
def test_no_text_is_too_strange(texts: list[str]) -> None:
    lines = [f"1007-{text}\n".encode() for text in texts]
    parse_routes(Reply(0, b"".join([*lines, b"0000 \n"])))


def test_the_questions_name_the_session() -> None:
    question = ask_sent(ONE, parse_network(P))
    assert question == "show route 203.0.113.0/24 all export table one_bgp.ipv4"
    assert ask_received(ONE) == "show route all protocol one_bgp"


def test_each_level_is_told_from_the_others_by_what_was_sent() -> None:
    def sent(level: Level) -> list[Route]:
        if level is Level.WITHDRAWN:
            return []
        gone = frozenset({(65535, 0)}) if level is Level.DRAINED else frozenset()
        return [Route(P, f"web_v4_{level}", (), gone)]

    for level in Level:
        assert [each for each in Level if as_told(each, sent(level))] == [level]
    # The protocol says drained, and the community was lost on the way through the filter.
    assert not as_told(Level.DRAINED, [Route(P, "web_v4_drained")])


def seen(*path: int, prefix: str = P, leaving: bool = False) -> Route:
    return Route(prefix, "one_bgp", path, frozenset({(65535, 0)} if leaving else ()))


@pytest.mark.parametrize(
    ("path", "certain"),
    [
        ((64601, 64999, ASN), True),  # it entered by a network that is no neighbor of ours
        ((64601, ASN), True),  # our one session with it: it does not send back what is ours
        ((64601, 64601, ASN, ASN), True),  # prepends on either side
        ((64601, 64602, ASN), False),  # by the other neighbor: may be ours, come back
        ((64601, 64602), False),  # the same, our private AS number stripped
        ((64601, 64999), True),
        ((ASN,), False),
        ((), False),
    ],
)
def test_only_what_cannot_be_ours_is_another_sites(path: tuple[int, ...], certain: bool) -> None:
    assert another_site(seen(*path), View(ONE), ASN, [ONE, TWO]) is certain


def test_a_second_session_with_the_same_network_is_a_way_back() -> None:
    again = ONE.model_copy(update={"name": "again"})
    assert not another_site(seen(64601, ASN), View(ONE), ASN, [ONE, again])


def test_a_site_that_is_about_to_go_does_not_count() -> None:
    assert not another_site(seen(64601, 64999, ASN, leaving=True), View(ONE), ASN, [ONE])


def outlook(*views: View, prefix: str = P) -> Outlook:
    return judge([prefix], views, ASN, [ONE, TWO])[prefix].outlook


def test_one_neighbor_that_knows_is_enough() -> None:
    assert outlook(View(ONE), View(TWO, (seen(64602, 64999, ASN),))) is Outlook.ELSEWHERE


def test_who_tells_of_others_and_not_of_this_one_says_that_it_is_the_last() -> None:
    assert outlook(View(ONE, (seen(64601, 64999, ASN, prefix=Q),))) is Outlook.LAST


def test_silence_is_no_evidence() -> None:
    for views in (
        (),
        (View(ONE),),
        (View(ONE, problem="could not be looked at (it hangs)"),),
        (View(ONE, (seen(64601, 64602, ASN),)),),
    ):
        assert outlook(*views) is Outlook.UNKNOWN
    text = judge([P], [View(ONE)], ASN, [ONE])[P].text
    assert "not known: one tells nothing of other sites" in text
    assert "last_site_view" in judge([P], [], ASN, [ONE])[P].text
