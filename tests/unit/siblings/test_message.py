"""What goes over the wire between edges: small, whole, and nothing else is taken."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.regions.evidence import RegionStands, ServiceStands
from edgenode.registry.revision import Revision
from edgenode.siblings.message import MAX_DATAGRAM, MessageError, Telling, decode, encode
from tests.unit.siblings.told import OWN, WEB, roundtrip

REVISION = Revision("etcd", 41, "ab12cd34ab12cd34", 3.25)
GOOD = encode(OWN, Telling({"web": WEB}, 17, REVISION), 7, 100.0)[0]

names = st.text(string.ascii_lowercase, min_size=1, max_size=31)
regions = st.builds(RegionStands, names, st.integers(0, 200), st.integers(0, 200))
services = st.builds(
    ServiceStands,
    st.sampled_from([True, False, None]),
    st.floats(0, 100),
    st.floats(0, 100),
    st.lists(regions, max_size=100, unique_by=lambda each: each.name).map(tuple),
)
tellings = st.builds(
    Telling, st.dictionaries(names, services, max_size=30), st.none() | st.integers(0, 2**40)
)


def test_what_was_told_is_heard() -> None:
    (heard,) = roundtrip(Telling({"web": WEB}, 17, REVISION))
    assert (heard.node, heard.boot, heard.key) == ("lon1", OWN.boot, OWN.key)
    assert [str(address) for address in heard.mesh] == list(OWN.mesh)
    assert (heard.number, heard.at, heard.table) == (7, 100.0, 17)
    assert heard.registry
    assert heard.registry.model_dump() == REVISION.to_json()
    (web,) = heard.services
    assert (web.name, web.reachable, web.silent) == ("web", True, 0.5)
    assert web.regions == {"iad": (0, 2), "fra": (2, 0)}


@given(tellings)
def test_every_datagram_is_small_and_all_services_are_in_them(telling: Telling) -> None:
    datagrams = encode(OWN, telling, 7, 100.0)
    assert all(len(datagram) <= MAX_DATAGRAM for datagram in datagrams)
    heard = [service for each in datagrams for service in decode(each).services]
    assert [service.name for service in heard] == list(telling.services)
    for service in heard:
        told = telling.services[service.name]
        assert service.reachable is told.reachable
        known = {region.name: (region.up, region.down) for region in told.regions}
        assert service.regions.items() <= known.items()
        down = {region.name for region in told.regions if not region.up}
        assert service.regions.keys() >= down or service.regions.keys() <= down


@given(st.binary(max_size=1500) | st.text().map(str.encode))
def test_nothing_that_arrives_is_more_than_refused(datagram: bytes) -> None:
    with pytest.raises(MessageError):
        decode(datagram)


@given(st.data())
def test_a_message_with_one_thing_replaced_is_taken_or_refused(data: st.DataObject) -> None:
    told = json.loads(GOOD)
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=5,
    )
    told[data.draw(st.sampled_from(sorted(told)))] = data.draw(anything)
    datagram = json.dumps(told).encode()
    refusal = ""
    try:
        assert 0 <= decode(datagram).at <= 2**53
    except MessageError as error:
        refusal = str(error)
    assert not refusal or refusal.isprintable()
    assert len(refusal) < 100


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"v":1', b'"v":2', "run the same edgenode"),
        (b'"node":"lon1"', b'"node":"lon1\\n"', "node is wrong"),
        (b'"at":100.0', b'"at":1e999', "at is wrong"),
        (b'"number":7', b'"number":' + b"9" * 300, "number is wrong"),
        (b'"number":7', b'"number":-1', "number is wrong"),
        (b'"mesh":[', b'"mesh":["x",', "mesh is wrong"),
        (b'"fra":[2,0]', b'"fra":[2,0,5]', "services is wrong"),
        (b'"reachable":true', b'"reachable":"yes"', "services is wrong"),
        (b'"boot"', b'"b"', "boot is wrong"),
        (b"{", b"[" * 700, "it is no JSON"),
        (b"}]}", b"}]}" + b" " * 1300, "more than 1232 bytes"),
    ],
)
def test_nonsense_is_refused_with_a_word_why(old: bytes, new: bytes, words: str) -> None:
    assert old in GOOD
    with pytest.raises(MessageError, match=words):
        decode(GOOD.replace(old, new, 1))


def test_a_newer_edge_may_say_more() -> None:
    assert decode(GOOD.replace(b'"v":1', b'"v":1,"more":{"x":[1]}', 1)).node == "lon1"
