"""Following what etcd says, where that is too much, or no text."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from edgenode.registry import follow as module
from edgenode.registry.answers import AnswerError
from edgenode.registry.etcd import TooLong
from edgenode.registry.follow import follow, read_all
from edgenode.registry.snapshot import Snapshot

PREFIX = "/edgenode/workers/"
HEADER = {"cluster_id": "1", "revision": "9"}


class Store:
    """Answers as etcd does, from what it holds; `events` are what a watch says."""

    def __init__(self, keys: list[bytes], events: list[Any] | None = None) -> None:
        self.keys = sorted(keys)
        self.events = events or []
        self.asked = 0

    async def call(self, path: str, body: Mapping[str, Any], **_: object) -> Mapping[str, Any]:
        self.asked += 1
        assert self.asked < 50, "asked for the same again and again"
        start, limit = b64decode(body["key"]), int(body.get("limit", 100))
        found = [key for key in self.keys if key >= start]
        kvs = [kv(key) for key in found[:limit]]
        more = len(found) > limit
        return {"header": HEADER, "kvs": kvs, "more": more, "count": str(len(found))}

    async def watch(self, create: object) -> AsyncIterator[Mapping[str, Any]]:
        for event in self.events:
            if isinstance(event, Exception):
                raise event
            yield event
        await asyncio.sleep(60)

    async def next_endpoint(self) -> None:
        pass


class Told:
    def __init__(self) -> None:
        self.problems: list[str] = []
        self.snapshots: list[Snapshot] = []

    def known(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def heard(self) -> None:
        pass

    def trouble(self, problem: str) -> None:
        self.problems.append(problem)


def kv(key: bytes, at: int = 2) -> dict[str, str]:
    return {"key": b64encode(key).decode(), "create_revision": str(at), "mod_revision": str(at)}


async def test_keys_that_are_no_text_are_read_past(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    keys = [PREFIX.encode() + bytes([0xFF, n]) for n in range(8)] + [PREFIX.encode() + b"fra/w1"]
    store: Any = Store(keys)
    found = await read_all(store, PREFIX)
    assert len(found.entries) == 9
    assert PREFIX + "fra/w1" in found.entries


async def test_values_that_are_far_too_long_keep_nobody_from_reading_the_others() -> None:
    store: Any = Store([PREFIX.encode() + b"fra/w%d" % n for n in range(9)])
    answers = store.call

    async def call(path: str, body: Mapping[str, Any], **_: object) -> Mapping[str, Any]:
        if int(body["limit"]) > 2:
            raise TooLong("an answer of more than 16777216 bytes")
        found: Mapping[str, Any] = await answers(path, body)
        return found

    store.call = call
    assert len((await read_all(store, PREFIX)).entries) == 9
    # An event of that kind: all is read again, page by page.
    store.events = [TooLong("a line of more than 16777216 bytes")]
    told = Told()
    task = asyncio.create_task(follow(store, PREFIX, told, 60.0))
    async with asyncio.timeout(5):
        while len(told.snapshots) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    assert not told.problems


async def test_events_that_make_it_too_many_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RECORDS", 5)
    put = [{"header": HEADER, "events": [{"kv": kv(b"k%d" % n, 10 + n)}]} for n in range(9)]
    store: Any = Store([], put)
    told = Told()
    task = asyncio.create_task(follow(store, PREFIX, told, 60.0))
    async with asyncio.timeout(5):
        while not told.problems:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    assert "more than 5 records" in told.problems[0]
    assert max(len(each.entries) for each in told.snapshots) == 5


async def test_a_fault_of_ours_in_the_watch_is_not_hidden_by_the_looks() -> None:
    store: Any = Store([], [RuntimeError("a bug")])
    with pytest.raises(RuntimeError, match="a bug"):
        async with asyncio.timeout(2):
            await follow(store, PREFIX, Told(), 0.05)


async def test_members_of_two_clusters_are_not_asked_without_end() -> None:
    other = {"header": {"cluster_id": "2", "revision": "9"}, "created": True}
    store: Any = Store([], [other])
    task = asyncio.create_task(follow(store, PREFIX, Told(), 60.0))
    await asyncio.sleep(0.5)
    task.cancel()
    assert store.asked == 1


async def test_numbers_that_no_copy_could_hold_are_refused() -> None:
    store: Any = Store([])

    async def huge(*_: object, **__: object) -> Mapping[str, Any]:
        return {"header": {"cluster_id": "1", "revision": str(2**64 - 1)}}

    store.call = huge
    with pytest.raises(AnswerError, match="revision"):
        await read_all(store, PREFIX)
