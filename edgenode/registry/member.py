"""A worker's own side: its record in etcd, under a lease that it keeps alive."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from edgenode.registry.answers import AnswerError, Compacted, number, page
from edgenode.registry.etcd import NOT_FOUND, Etcd, EtcdError, Refused, encoded
from edgenode.registry.follow import read_all
from edgenode.registry.records import Layout, Load, Record, RecordError, WorkerId, parse
from edgenode.registry.snapshot import Entry

TRIES = 5
"""Of a change that others come between."""
AGAIN = 1.0
AGAIN_AT_MOST = 10.0
"""Seconds between two tries, growing, with jitter."""


class MemberError(Exception):
    """It is not done, and will not be by itself; the text says why and what to do."""


class Member:
    """One worker. Methods raise EtcdError, AnswerError; MemberError where others are in the way."""

    def __init__(self, etcd: Etcd, layout: Layout, who: WorkerId, identity: str) -> None:
        self._etcd = etcd
        self._layout = layout
        self.who = who
        self._identity = identity
        self._lease: str | None = None
        self._registered: Record | None = None
        """What it has put under this lease."""

    async def register(self, record: Record, lease: float) -> None:
        """Have just this record there, under our lease, which is made if it has ended."""
        await self._look_for_others(record)
        try:
            await self._put(record, lease)
        except Refused as error:
            if error.code != NOT_FOUND:
                raise
            self._lease = None  # it ended while the record could not be put
            await self._put(record, lease)

    async def _put(self, record: Record, lease: float) -> None:
        if self._lease is None:
            answer = await self._etcd.call("lease/grant", {"TTL": str(max(1, round(lease)))})
            self._lease = str(number(answer, "ID"))
        put = {"value": encoded(record.render()), "lease": self._lease}
        try:
            await self._change({"request_put": {"key": self._key, **put}}, may_be_absent=True)
        except (EtcdError, AnswerError):
            self._registered = None  # it may have been put
            raise
        self._registered = record

    async def keep_alive(self) -> str:
        """What has become of its lease or record, so that it has to register again; else empty."""
        ended = "is not registered any more"
        if self._lease is None:
            return ended
        answer = await self._etcd.call("lease/keepalive", {"ID": self._lease})
        result = answer.get("result")
        if not isinstance(result, dict):
            raise AnswerError("the answer to a sign of life is none of etcd's")
        if number(result, "TTL") == 0:
            self._lease = self._registered = None
            return ended
        entry = await self._entry()
        return ended if entry is None else self._changed(entry)

    def _changed(self, entry: Entry) -> str:
        """By others; whether it drains is an operator's matter. Raises MemberError."""
        if self._on_another_lease(entry):
            found = self._own(entry)
            raise MemberError(
                f"{self.who} is registered by another machine that has this one's identity "
                f"({self._identity}; addresses {', '.join(map(str, found.addresses))}): a copy of "
                "this one? Give it another name, remove the file identity in its state_dir, and "
                "restart edgenode worker join there, then here"
            )
        try:
            found = parse(entry.value)
        except RecordError as error:
            return f"has lost its record in etcd to what is none ({error}): look at what wrote it"
        if self._registered is None:
            return ""
        same = found.model_copy(update={"draining": self._registered.draining})
        if same == self._registered and str(entry.lease) == self._lease:
            return ""
        return "has had its record in etcd changed by others: look at who does that"

    def _on_another_lease(self, entry: Entry) -> bool:
        """Then somebody keeps it there: it is not only written by hand."""
        return entry.lease != 0 and str(entry.lease) != self._lease

    def _lies_on_ours(self, entry: Entry) -> bool:
        """Whether it is garbage, in the place of what we have registered."""
        try:
            parse(entry.value)
        except RecordError:
            return self._registered is not None and not self._on_another_lease(entry)
        return False

    async def report(self, load: Load) -> None:
        """Say how busy it is; nothing where it is not registered."""
        if self._lease is not None:
            key = encoded(self._layout.load(self.who))
            body = {"key": key, "value": encoded(load.render()), "lease": self._lease}
            await self._etcd.call("kv/put", body)

    async def set_draining(self, draining: bool) -> bool:
        """In its record, whoever keeps its lease; False: it is not registered."""
        entry = await self._entry()
        if entry is None:
            return False
        record = self._own(entry).model_copy(update={"draining": draining})
        put = {"key": self._key, "value": encoded(record.render()), "ignore_lease": True}
        await self._change({"request_put": put}, may_be_absent=False)
        return True

    async def leave(self) -> bool:
        """Remove its record, and no other; False: it was not there."""
        load = {"request_delete_range": {"key": encoded(self._layout.load(self.who))}}
        gone = {"request_delete_range": {"key": self._key}}
        if await self._entry() is None:
            return False
        await self._change(gone, load, may_be_absent=False)
        await self._revoke()
        return True

    async def _revoke(self) -> None:
        if self._lease is not None:
            lease, self._lease = self._lease, None
            try:
                await self._etcd.call("lease/revoke", {"ID": lease})
            except Refused as error:
                if error.code != NOT_FOUND:
                    raise

    @property
    def _key(self) -> str:
        return encoded(self._layout.worker(self.who))

    async def _entry(self) -> Entry | None:
        found = page(await self._etcd.call("kv/range", {"key": self._key})).entries
        return found[0] if found else None

    def _own(self, entry: Entry) -> Record:
        """Raises MemberError where it is of another machine."""
        try:
            record = parse(entry.value)
        except RecordError as error:
            raise MemberError(
                f"{entry.key} in etcd is no record of a worker ({error}): look at what wrote it, "
                f"and remove it (etcdctl del {entry.key})"
            ) from None
        if record.identity != self._identity:
            raise MemberError(
                f"{self.who} is registered by another machine (identity {record.identity}, "
                f"addresses {', '.join(map(str, record.addresses))}; this one is "
                f"{self._identity}): give one of them another name; or, if that one is gone for "
                "good, wait until its lease has ended, or remove it (edgenode worker leave "
                f"--region {self.who.region} --name {self.who.name} --identity {record.identity})"
            )
        return record

    async def _look_for_others(self, record: Record) -> None:
        """Raises MemberError where somebody has one of our addresses, or our name elsewhere."""
        try:
            others = await read_all(self._etcd, self._layout.workers)
        except Compacted:
            return  # it is only that it is said sooner: the edges refuse it, too
        for entry in others.entries.values():
            try:
                who, other = self._layout.who(entry.key), parse(entry.value)
            except RecordError:
                continue
            if who == self.who:
                continue
            if who.name == self.who.name:
                raise MemberError(
                    f"the name {who.name} is taken by {who}: give one of them another"
                )
            if taken := set(record.addresses) & set(other.addresses):
                raise MemberError(
                    f"{', '.join(map(str, taken))} is the address of {who} (identity "
                    f"{other.identity}), which was there first: every edge would refuse this "
                    "worker. Give one of them another address"
                )

    async def _change(self, *requests: dict[str, Any], may_be_absent: bool) -> None:
        """In one transaction, on the very record that was looked at."""
        for _ in range(TRIES):
            entry = await self._entry()
            if entry is None:
                if not may_be_absent:
                    return
                compare = {"target": "VERSION", "version": "0"}
            else:
                if not self._lies_on_ours(entry):
                    self._own(entry)
                compare = {"target": "MOD", "mod_revision": str(entry.modified)}
            answer = await self._etcd.call(
                "kv/txn",
                {
                    "compare": [{"key": self._key, "result": "EQUAL", **compare}],
                    "success": list(requests),
                },
            )
            if answer.get("succeeded") is True:
                return
        raise MemberError(
            f"{self.who} was changed by others, {TRIES} times in between: look at who"
        )


class Keeper:
    """Keeps a member registered, until cancelled; what goes wrong is said once and tried again."""

    def __init__(
        self,
        member: Member,
        record: Callable[[], Record],
        lease: float,
        say: Callable[[str], None],
    ) -> None:
        """`record`: what is to be registered, asked for all the time."""
        self._member = member
        self._record = record
        self._lease = lease
        self._say = say
        self._registered: Record | None = None
        self._trouble = ""
        self._lost = ""
        """What had become of the record, when etcd was last asked."""
        self.hurry = asyncio.Event()
        """Set: the record is another one."""

    @property
    def registered(self) -> bool:
        """Whether it was, when etcd was last asked."""
        return self._registered is not None

    async def run(self) -> None:
        """Until cancelled."""
        wait = 0.0
        while True:
            try:
                await self._once()
            except MemberError as error:
                self._complain(str(error), str(error))
            except (EtcdError, AnswerError) as error:
                self._complain("etcd", str(error))
            if self._trouble:
                wait = min(2 * wait, AGAIN_AT_MOST) or AGAIN
                delay = min(wait, self._lease / 3) * random.uniform(0.7, 1.3)
            else:
                delay, wait = self._lease / 3, 0.0
            try:
                async with asyncio.timeout(delay):
                    await self.hurry.wait()
            except TimeoutError:
                continue
            self.hurry.clear()

    async def _once(self) -> None:
        wanted = self._record()
        known = False
        if self._registered is not None:
            lost = await self._member.keep_alive()
            known = bool(lost) and lost == self._lost
            self._lost = lost
            if lost:
                self._registered = None
                if not known:
                    self._say(f"{self._member.who} {lost}; it registers once again")
        if wanted != self._registered:
            await self._member.register(wanted, self._lease)
            drains = ", draining" if wanted.draining else ""
            if not known:
                self._say(f"{self._member.who} is registered{drains}")
            self._registered = wanted
        elif self._trouble:
            self._say("etcd answers again")
        self._trouble = ""

    def _complain(self, trouble: str, text: str) -> None:
        if trouble != self._trouble:
            self._say(f"{text}; it is tried again and again")
        self._trouble = trouble
