"""Who is let in, and that one bad record takes no other with it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config.schema import Mesh
from edgenode.registry.records import Record, RecordError, WorkerId, parse
from edgenode.registry.snapshot import Change, Entry, Rules, Snapshot, judge
from tests.unit.registry.fleets import KEY, LAYOUT, RULES, entry, fleet, names, served, snapshot

GOOD = entry("fra/w1", 5)


def why(bad: Entry, *others: Entry) -> str:
    """Why a record is refused; the others are not."""
    found = judge([*others, bad], LAYOUT, RULES)
    assert [each.key for each in found.refused] == [bad.key]
    assert len(found.workers) == len(others)
    return found.refused[0].why


GARBAGE = [
    (b"", 'it is no JSON ("")'),
    (b"\xff\x00\x1b[2J garbage", "it is no JSON ("),
    (b"[" * 4000, "it is no JSON ("),
    (b"[]", "Input should be an object"),
    (b'{"identity": "machine-1", "addresses": []}', "addresses: "),
    (b'{"identity": "x", "addresses": ["10.1.1.1"]}', "identity: "),
    (b'{"identity": "machine-1", "addresses": ["10.1.1"]}', "write an address such as"),
    (b'{"identity": "machine-1", "addresses": ["10.1.1.1"], "weight": 0}', "weight: "),
    (b'{"identity": "machine-1", "addresses": ["10.1.1.1"], "weight": "7"}', "weight: "),
    (b'{"identity": "machine-1", "addresses": ["10.1.1.1"], "draining": 1}', "draining: "),
    (
        b'{"identity": "machine-1", "addresses": ["10.1.1.1"], "soft_limit": 9, "hard_limit": 8}',
        "soft_limit is above hard_limit",
    ),
    (b'{"identity": "machine-1", "addresses": ["10.1.1.1"]' + b" " * 5000 + b"}", "bytes"),
]


@pytest.mark.parametrize(("value", "said"), GARBAGE)
def test_garbage(value: bytes, said: str) -> None:
    text = why(entry("fra/bad", 9, value), GOOD)
    assert said in text
    assert text.endswith("look at what wrote it, and mend or remove it (etcdctl del)")
    assert text.isprintable()
    assert len(text) < 300


@pytest.mark.parametrize("who", ["fra", "fra/a/b", "fra/", "/w1", "fra/W1", "fra/w 1", "fra/w1\n"])
def test_keys_of_another_form(who: str) -> None:
    text = why(entry(who, 9), GOOD)
    assert "key" in text
    assert text.endswith("remove it (etcdctl del)")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (entry("fra/w2", 9, addresses=["10.1.1.5"]), "10.1.1.5 is the address of fra/w1, which"),
        (entry("iad/w1", 9), "the name w1 is taken by fra/w1"),
        (entry("fra/fixed", 9), "the name fixed is taken by fra/fixed of the configuration"),
        (entry("fra/w2", 9, addresses=["10.1.0.1"]), "fra/fixed of the configuration"),
        (entry("fra/w2", 9, addresses=["198.51.100.193"]), "the address of this node"),
        (entry("fra/w2", 9, addresses=["192.0.2.1"]), "not in the allowed addresses of any mesh"),
        (entry("fra/w2", 9, addresses=["2001:db8::1"]), "not in the allowed addresses"),
        (entry("sin/w2", 9), 'region "sin" is not in this node\'s configuration'),
    ],
)
def test_what_is_not_its_own(bad: Entry, said: str) -> None:
    assert said in why(bad, GOOD)


def test_the_first_keeps_it_whatever_the_order() -> None:
    thief = entry("fra/a", 9, addresses=["10.1.1.5"])
    for order in ([GOOD, thief], [thief, GOOD]):
        assert [str(who) for who in judge(order, LAYOUT, RULES).workers] == ["fra/w1"]
    # It changed later than the thief came, and was there first all the same.
    changed = Entry(GOOD.key, GOOD.value, GOOD.created, 20)
    assert [str(who) for who in judge([changed, thief], LAYOUT, RULES).workers] == ["fra/w1"]


def test_an_old_record_that_takes_anothers_address_is_no_older_than_that_one() -> None:
    old, victim = entry("fra/a", 3), entry("fra/w1", 5)
    state = served(old, victim)
    robbed = replace(old, value=entry("fra/a", 3, addresses=["10.1.1.5"]).value, modified=9)
    state = state.after(snapshot(robbed, victim), 1.0)
    assert set(state.judged.workers) == {WorkerId("fra", "w1")}
    assert "10.1.1.5 is the address of fra/w1" in state.judged.refused[0].why


def test_no_worker_has_the_mesh_address_of_another_edge() -> None:
    peers = [
        {"name": "fra", "public_key": KEY, "allowed": ["10.1.0.0/17"]},
        {"name": "nyc1", "public_key": KEY, "allowed": ["10.1.200.2/32"], "edge": True},
    ]
    mesh = Mesh.model_validate({"addresses": ["198.51.100.193"], "peers": peers})
    rules = Rules.of(fleet().model_copy(update={"mesh": mesh}))
    found = judge([entry("fra/w1", 5, addresses=["10.1.200.2"]), entry("fra/w2", 6)], LAYOUT, rules)
    assert set(found.workers) == {WorkerId("fra", "w2")}
    assert "10.1.200.2 is the address of edge nyc1" in found.refused[0].why


def test_a_key_names_a_worker_in_one_way_only() -> None:
    with pytest.raises(RecordError):
        LAYOUT.who("/edgenode/workers//edgenode/load/fra/w1")


def test_thousands_of_records_are_judged_in_no_time_also_behind_many_peers() -> None:
    peers = [
        {"name": f"p{n}", "public_key": KEY, "allowed": [f"10.{n}.0.0/16"]} for n in range(200)
    ]
    mesh = Mesh.model_validate({"addresses": ["198.51.100.193"], "peers": peers})
    rules = Rules.of(fleet().model_copy(update={"mesh": mesh}))
    good = [entry(f"fra/g{n}", n, addresses=[f"10.{n % 200}.9.{n // 200}"]) for n in range(2000)]
    bad = [entry(f"fra/b{n}", n, b'{"identity": %d}' % n) for n in range(2000)]
    judge([*good, *bad], LAYOUT, rules)
    begun = time.process_time()
    assert len(judge([*good, *bad], LAYOUT, rules).workers) == 2000
    assert time.process_time() - begun < 0.15, "none of the many is looked for peer by peer"


def test_what_is_merged_into_the_configuration() -> None:
    more: dict[str, Any] = {"weight": 3, "soft_limit": 10, "hard_limit": 20, "draining": True}
    state = served(entry("fra/w1", 5, **more), entry("iad/w2", 6), entry("fra/w0", 7))
    merged = state.merged(fleet())
    found = {r.name: [w.name for w in r.workers] for r in merged.regions}
    assert found == {"fra": ["fixed", "w0", "w1"], "iad": ["w2"]}
    w1 = merged.regions[0].workers[2]
    assert {key: getattr(w1, key) for key in more} == more
    assert str(w1.addresses[0]) == "10.1.1.5"


def test_a_newer_worker_may_say_more() -> None:
    assert names(served(entry("fra/w1", 5, colour="blue"))) == ["fra/w1"]


def test_what_is_rendered_is_read_again() -> None:
    record = Record.model_validate(
        {"identity": "machine-1", "addresses": ["10.1.1.1", "2001:db8::1"], "weight": 2}
    )
    assert parse(record.render()) == record


def test_events() -> None:
    before = snapshot(entry("fra/w1", 5), entry("fra/w2", 6))
    key = "/edgenode/workers/fra/w1"
    after = before.after([Change(key, 7, None), Change("k", 8, Entry("k", b"", 8, 8))])
    assert (sorted(after.entries), after.revision) == (["/edgenode/workers/fra/w2", "k"], 8)
    assert before.after([Change(key, 6, None)]) == before, "older than what is known"
    assert after.digest != before.digest
    again = Snapshot(dict(reversed(list(after.entries.items()))), 99, "c")
    assert again.digest == after.digest, "whatever came between, the same is known"


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
VALUES = (
    st.binary(max_size=200)
    | st.builds(lambda value: json.dumps(value).encode(), JSON)
    | st.builds(
        lambda identity, addresses, weight: json.dumps(
            {"identity": identity, "addresses": addresses, "weight": weight}
        ).encode(),
        st.text(max_size=10) | JSON,
        st.lists(st.ip_addresses().map(str) | st.text(max_size=6), max_size=3) | JSON,
        st.integers() | JSON,
    )
)


@given(value=VALUES)
def test_any_value_is_a_record_or_a_sentence(value: bytes) -> None:
    try:
        parse(value)
    except RecordError as error:
        text = str(error)
    else:
        return
    assert text.isprintable()
    assert len(text) < 300


RECORDS = st.builds(
    entry,
    st.builds("{}/w{}".format, st.sampled_from(["fra", "iad", "sin"]), st.integers(1, 5)),
    st.integers(1, 50),
    addresses=st.lists(st.integers(1, 9).map("10.1.1.{}".format), min_size=1, max_size=2),
)


@given(entries=st.lists(RECORDS | st.builds(entry, st.text(), st.integers(1, 9), VALUES)))
def test_no_address_and_no_name_has_two_workers(entries: list[Entry]) -> None:
    found = judge([GOOD, *entries], LAYOUT, RULES)
    addresses = [a for record in found.workers.values() for a in set(record.addresses)]
    assert len(addresses) == len(set(addresses))
    assert len({who.name for who in found.workers}) == len(found.workers)
    assert len(found.workers) + len(found.refused) == len(entries) + 1
