"""Follows the workers' records in etcd: all of them first, then each change, until cancelled.

A watch that was cut goes on where it was; where its events have been compacted away meanwhile, or
the cluster is another one, all is read again. A stream that is silent may be a dead one: so the
same member is asked every few seconds how many records there are. That shows that it answers, and
as part of a working cluster (the read is linearizable), and finds events that were missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol

from edgenode.registry.answers import AnswerError, Compacted, Told, page, told
from edgenode.registry.etcd import (
    OUT_OF_RANGE,
    Etcd,
    EtcdError,
    Refused,
    TooLong,
    encoded,
    range_end,
)
from edgenode.registry.snapshot import Entry, Snapshot

PAGE = 500
MAX_RECORDS = 20_000
"""More are no fleet, but a fault of whoever wrote them."""
AGAIN = 1.0
AGAIN_AT_MOST = 10.0
"""Seconds between two tries, growing, with jitter: edges must not come all at once."""


class Sink(Protocol):
    """Who is told. Plain functions, that must not block."""

    def known(self, snapshot: Snapshot) -> None:
        """What there is now: it was read, or an event has changed it."""

    def heard(self) -> None:
        """etcd has answered, and nothing has changed."""

    def trouble(self, problem: str) -> None:
        """It does not answer, or not well; said again with each try."""


class _Missed(Exception):
    """The count is not what the events have led to, or they cannot be read."""


async def follow(
    etcd: Etcd, prefix: str, sink: Sink, look_interval: float, snapshot: Snapshot | None = None
) -> None:
    """Until cancelled. `prefix`: of the records' keys. `snapshot`: what is known, to go on from."""
    wait = AGAIN
    while True:
        try:
            if snapshot is None:
                snapshot = await read_all(etcd, prefix)
                sink.known(snapshot)
                wait = AGAIN
            async for after in _changes(etcd, prefix, snapshot, sink, look_interval):
                snapshot, wait = after, AGAIN
        except (Compacted, _Missed):
            snapshot, wait = None, AGAIN  # not at once: members may be of two clusters, in turns
        except (EtcdError, AnswerError) as error:
            sink.trouble(str(error))
            await etcd.next_endpoint()
        await asyncio.sleep(wait * random.uniform(0.7, 1.3))
        wait = min(2 * wait, AGAIN_AT_MOST)


async def read_all(etcd: Etcd, prefix: str, *, here_only: bool = False) -> Snapshot:
    """Every record, as of one revision. `here_only`: see `Etcd.call`.

    Raises EtcdError, AnswerError, Compacted.
    """
    entries: dict[str, Entry] = {}
    key, revision, cluster, limit = encoded(prefix), 0, "", PAGE
    while True:
        body: dict[str, Any] = {"key": key, "range_end": range_end(prefix), "limit": str(limit)}
        if revision:
            body["revision"] = str(revision)
        try:
            part = page(await etcd.call("kv/range", body, here_only=here_only))
        except Refused as error:
            if error.code == OUT_OF_RANGE and revision:
                raise Compacted from None
            raise
        except TooLong:  # whoever wrote such values keeps nobody from reading the others
            if limit == 1:
                raise
            limit //= 2
            continue
        if cluster and part.header.cluster != cluster:
            raise AnswerError("the endpoints are of different clusters")
        revision, cluster = revision or part.header.revision, part.header.cluster
        entries |= {entry.key: entry for entry in part.entries}
        _bound(len(entries), prefix)
        if not part.more or not part.entries:
            return Snapshot(entries, revision, cluster)
        key = encoded(part.last + b"\0")


def _bound(count: int, prefix: str) -> None:
    """Raises AnswerError."""
    if count > MAX_RECORDS:
        raise AnswerError(
            f"there are more than {MAX_RECORDS} records below {prefix}: look at what wrote them"
        )


async def _changes(
    etcd: Etcd, prefix: str, snapshot: Snapshot, sink: Sink, look_interval: float
) -> AsyncIterator[Snapshot]:
    """What is known, after each change; told to the sink, too. Ends where the stream does."""
    create = {
        "key": encoded(prefix),
        "range_end": range_end(prefix),
        "start_revision": str(snapshot.revision + 1),
        "progress_notify": True,
    }
    now = [snapshot]
    responses: asyncio.Queue[Told | Exception] = asyncio.Queue(64)
    tasks = [
        asyncio.create_task(_into(responses, _watch(etcd, create, snapshot, responses))),
        asyncio.create_task(_into(responses, _look(etcd, prefix, sink, look_interval, now))),
    ]
    try:
        while True:
            response = await responses.get()
            if isinstance(response, Exception):
                raise response
            sink.heard()
            if response.changes:
                after = now[0].after(response.changes)
                _bound(len(after.entries), prefix)
                now[0] = after
                sink.known(after)
                yield now[0]
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


async def _into(
    responses: asyncio.Queue[Told | Exception], part: Coroutine[Any, Any, None]
) -> None:
    """Run a part; how it ends is told where everything is."""
    try:
        await part
        await responses.put(AnswerError("the watch ended"))
    except Exception as error:  # a fault of ours, too: else the other part would hide it
        await responses.put(error)


async def _watch(
    etcd: Etcd,
    create: dict[str, Any],
    known: Snapshot,
    responses: asyncio.Queue[Told | Exception],
) -> None:
    try:
        async for result in etcd.watch(create):
            response = told(result)
            header = response.header
            if result.get("created") is True and (
                header.cluster != known.cluster or header.revision < known.revision
            ):
                raise _Missed  # restored from a backup, or another cluster: revisions begin anew
            await responses.put(response)
    except TooLong:
        raise _Missed from None  # page by page it can be read


async def _look(etcd: Etcd, prefix: str, sink: Sink, interval: float, now: list[Snapshot]) -> None:
    """Ask the member that is watched for the count. Wrong twice, with no event: one was missed."""
    body = {"key": encoded(prefix), "range_end": range_end(prefix), "count_only": True}
    doubted: Snapshot | None = None
    while True:
        await asyncio.sleep(interval)
        found = page(await etcd.call("kv/range", body, here_only=True))
        if found.header.revision < now[0].revision:
            raise _Missed  # a revision never goes back, unless the whole store has
        sink.heard()
        if found.count == len(now[0].entries):
            doubted = None
        elif doubted is now[0]:
            raise _Missed
        else:
            doubted = now[0]
