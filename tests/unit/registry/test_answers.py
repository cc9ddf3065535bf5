"""What etcd's gateway sends, as it was seen from 3.4.23, and what is no answer of it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.registry.answers import AnswerError, Compacted, Header, page, told
from tests.unit.registry.test_snapshot import JSON

HEADER = {"cluster_id": "20", "member_id": "13", "revision": "6", "raft_term": "2"}
KV = {"key": "L2EveA==", "create_revision": "2", "mod_revision": "5", "value": "djE="}


def test_a_page() -> None:
    found = page({"header": HEADER, "kvs": [KV], "more": True, "count": "2"})
    assert found.header == Header("20", 6)
    assert (found.more, found.count) == (True, 2)
    (entry,) = found.entries
    assert (entry.key, entry.value, entry.created, entry.modified) == ("/a/x", b"v1", 2, 5)
    assert page({"header": HEADER}).entries == ()


def test_events_of_a_watch() -> None:
    gone = {"type": "DELETE", "kv": {"key": "L2EveA==", "mod_revision": "5"}}
    empty = {"kv": {k: v for k, v in KV.items() if k != "value"}}
    found = told({"header": HEADER, "events": [gone, empty]})
    assert [(c.key, c.modified) for c in found.changes] == [("/a/x", 5), ("/a/x", 5)]
    assert found.changes[0].entry is None
    assert found.changes[1].entry
    assert found.changes[1].entry.value == b""
    assert told({"header": HEADER, "created": True}).changes == ()


def test_a_watch_whose_events_are_gone() -> None:
    with pytest.raises(Compacted):
        told({"header": {"cluster_id": "20"}, "canceled": True, "compact_revision": "4"})
    with pytest.raises(AnswerError, match="permission denied"):
        told({"header": HEADER, "canceled": True, "cancel_reason": "permission denied"})


FIELDS = ["header", "kvs", "more", "count", "events", "created", "compact_revision"]
ANSWERS = st.dictionaries(
    st.sampled_from(FIELDS),
    JSON | st.just(HEADER) | st.lists(JSON | st.just(KV) | st.just({"kv": KV}), max_size=2),
)


@given(answer=ANSWERS)
def test_what_is_no_answer_is_said(answer: dict[str, Any]) -> None:
    for read in (page, told):
        with suppress(AnswerError, Compacted):
            read(answer)
