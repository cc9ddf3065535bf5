"""Keeps the workers that are known in line with etcd, and a copy of them for when it is away.

Nothing of it ends or touches a connection: other workers mean other targets to probe, and then
another steering table.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from edgenode import places
from edgenode.config import Config
from edgenode.registry.answers import AnswerError, Compacted
from edgenode.registry.etcd import Etcd, EtcdError
from edgenode.registry.follow import follow, read_all
from edgenode.registry.presence import Missing, Presence, Times
from edgenode.registry.records import Layout, RecordError, parse, parse_load
from edgenode.registry.revision import Revision, digest
from edgenode.registry.served import Served, missing, news
from edgenode.registry.snapshot import Entry, Rules, Snapshot
from edgenode.registry.threads import in_thread
from edgenode.state import StateError
from edgenode.state.registrycopy import Copy, RegistryCopy, Stored

TICK = 1.0
"""Seconds between two looks at who has been missing for long enough."""
STORE = 2.0
"""Seconds between two copies, at least; of what has not changed, `REFRESH`."""
REFRESH = 60.0
LOADS = 2
"""How many looks at etcd there are for one at how busy the workers are."""
SHARE = 5
"""Of how many parts of its time control spends one on changes of the workers, at most: where
thousands change one by one, those that come meanwhile are taken up in one go."""
BRIEF = 0.01
"""Seconds: what takes no longer may follow at once."""
TOLD = 100
"""Refusals in `status`; there it says how many there are."""


class RegistryKeeper:
    """`note(kind, subject, text)` is told what changed and what is wrong, once each."""

    def __init__(
        self,
        config: Config,
        note: Callable[[str, str, str], None],
        before: RegistryKeeper | None = None,
    ) -> None:
        """`before`: the keeper under the configuration before, of which what is known goes on.

        Without one the copy on the disk is read; with one of another prefix, by `run`.
        """
        self._config = config
        self._settings = config.registry
        self._note = note
        self._copy = RegistryCopy(places.control_state(config.node.state_dir))
        self._on_workers: Callable[[Config], None] = lambda merged: None
        self._problem = ""
        self._uncopied = ""
        self._loads: Mapping[str, float] = {}
        self._heard_at = time.monotonic()
        self._stored: tuple[float, Presence, Snapshot] | None = None
        """When the copy was made, and of what."""
        self._etcd = Etcd(self._settings) if self._settings else None
        prefix = self._settings.prefix if self._settings else ""
        times = Times(self._settings.linger, self._settings.hold) if self._settings else Times(0, 0)
        self._served = Served(Layout(prefix), Rules.of(config), times)
        self._next: Snapshot | None = None
        """What is to be taken up at `_free_at`."""
        self._free_at = 0.0
        self._fresh = False
        """Whether what is known is what etcd said, to this process."""
        self._unread = False
        """Whether the copy is still to be read: a node that is at work does not wait for a disk."""
        same = before is not None and before._served.layout == self._served.layout
        if self._settings and before and same and not before._unread:
            self._take_over(before)
        elif self._settings and before:
            self._unread = True
        elif self._settings:
            self._load(self._read())
        self.merged = self._served.merged(config)
        """The configuration, with all workers that are known."""

    @property
    def complete(self) -> bool:
        """Whether it is known who the workers are: from etcd, or from a copy, of whatever age."""
        return self._settings is None or self._served.snapshot.revision > 0

    async def run(self, on_workers: Callable[[Config], None]) -> None:
        """Until cancelled. `on_workers` gets the configuration with all workers when they change.

        It is a plain function, and must not block.
        """
        if self._settings is None or self._etcd is None:
            return
        self._on_workers = on_workers
        if self._unread:
            self._load(await in_thread(self._read))
            self._unread, self.merged = False, self._served.merged(self._config)
        if self.complete:
            on_workers(self.merged)
        prefix, look = self._served.layout.workers, self._settings.look_interval
        known = self._served.snapshot if self._fresh else None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(follow(self._etcd, prefix, self, look, known))
                tasks.create_task(self._tick())
                tasks.create_task(self._look_at_loads(self._etcd, LOADS * look))
        finally:
            self._next = None  # whoever goes on asks for it again
            await self._etcd.close()

    # -- what `follow` tells -------------------------------------------------------------------

    def known(self, snapshot: Snapshot) -> None:
        """There is another state."""
        self.heard()
        waits = self._next is not None
        self._next = snapshot
        begun = time.monotonic()
        if begun >= self._free_at:
            self._catch_up()
        elif not waits:
            asyncio.get_running_loop().call_later(self._free_at - begun, self._catch_up)

    def _catch_up(self) -> None:
        snapshot, self._next = self._next, None
        if snapshot is None:
            return
        begun = time.monotonic()
        first, self._fresh = not self._fresh, True
        self._serve(self._served.after(snapshot, begun), always=first)
        now = time.monotonic()
        took = now - begun
        self._free_at = now + (SHARE - 1) * took if took > BRIEF else now

    def heard(self) -> None:
        """etcd answers."""
        now = time.monotonic()
        if self._problem:
            self._note("registry", self._where(), f"etcd answers again, after {self._age():.0f} s")
        self._problem, self._heard_at = "", now

    def trouble(self, problem: str) -> None:
        """It does not: what is known goes on."""
        if not self._problem:
            since = (
                f"what was known {self._age():.0f} s ago goes on"
                if self.complete
                else "and there is no copy: no worker is known but those of the configuration"
            )
            where, text = self._where(), problem
            if problem.startswith((f"{where}: ", f"{where} ")):  # it is the subject already
                text = problem.removeprefix(where).lstrip(": ")
            self._note("registry", where, f"{text}; {since}")
        self._problem = problem

    # -- for others -----------------------------------------------------------------------------

    def revision(self) -> Revision:
        """What this node serves from, for other edges."""
        if self._settings is None:
            return self._of_configuration
        snapshot = self._served.snapshot
        return Revision("etcd", snapshot.revision or None, snapshot.digest, self._age())

    @cached_property
    def _of_configuration(self) -> Revision:
        """It is asked for each second."""
        workers = (
            f"{region.name} {worker.model_dump_json()}"
            for region in self._config.regions
            for worker in region.workers
        )
        return Revision("config", None, digest(workers), 0.0)

    def status(self) -> dict[str, Any]:
        """For people, the admin API and the metrics."""
        revision = self.revision()
        refused = self._served.judged.refused
        if self._settings is None:
            source = "config"
        else:
            source = "etcd" if self._fresh and not self._problem else "copy"
        return {
            "source": source,
            "revision": revision.number,
            "digest": revision.digest,
            "age_s": round(revision.age, 1) if self.complete else None,
            "endpoint": str(self._etcd.endpoint) if self._etcd else None,
            "problem": self._problem or self._uncopied,
            "workers": len(self._served.presence.workers),
            "missing": missing(self._served, time.monotonic()),
            "refused": [each.to_json() for each in refused[:TOLD]],
            "refused_count": len(refused),
            "loads": dict(self._loads),
        }

    # -- inside ---------------------------------------------------------------------------------

    def _age(self) -> float:
        """Seconds since etcd was heard of; of a copy, since it was when the copy was made."""
        return max(0.0, time.monotonic() - self._heard_at)

    def _where(self) -> str:
        return str(self._etcd.endpoint) if self._etcd else ""

    def _serve(self, after: Served, always: bool = False) -> None:
        before, self._served = self._served, after
        for subject, text in news(before, after):
            self._note("registry", subject, text)
        if always or after.presence != before.presence:
            self.merged = after.merged(self._config)
            self._on_workers(self.merged)

    def _take_over(self, before: RegistryKeeper) -> None:
        served = before._served
        self._served = Served(
            self._served.layout, self._served.rules, self._served.times, presence=served.presence
        ).after(served.snapshot, time.monotonic())
        self._fresh = before._fresh
        self._heard_at, self._problem = before._heard_at, before._problem
        self._loads, self._stored = before._loads, before._stored
        for subject, text in news(served, self._served):
            self._note("registry", subject, text)

    def _read(self) -> Copy | StateError | None:
        """The copy. Blocks."""
        try:
            return self._copy.load()
        except StateError as error:
            return error

    def _load(self, copy: Copy | StateError | None) -> None:
        """Go on with a copy; none, or one of another prefix, is no harm."""
        if isinstance(copy, StateError):
            self._note("registry", self._config.node.name, str(copy))
            return
        if copy is None or copy.prefix != self._served.layout.prefix:
            return
        now, wall = time.monotonic(), time.time()
        entries = {
            each.key: Entry(each.key, each.value, each.created, each.modified)
            for each in copy.records
            if each.gone is None
        }
        gone = {}
        for each in copy.records:
            if each.gone is not None:
                try:
                    who, record = self._served.layout.who(each.key), parse(each.value)
                except RecordError:
                    continue
                gone[who] = Missing(record, now - max(0.0, wall - each.gone))
        empty = self._served
        before = Served(empty.layout, empty.rules, empty.times, presence=Presence({}, gone))
        self._served = before.after(Snapshot(entries, copy.revision, copy.cluster), now)
        self._heard_at = now - max(0.0, wall - copy.heard)
        count = len(self._served.presence.workers)
        workers = "worker" if count == 1 else "workers"
        text = f"{count} {workers} from the copy, which is {self._age():.0f} s old"
        self._note("registry", self._config.node.name, text)

    async def _tick(self) -> None:
        while True:
            self._serve(self._served.after(self._served.snapshot, time.monotonic()))
            await self._store()
            await asyncio.sleep(TICK)

    async def _store(self) -> None:
        """A copy for the next start, where it is due."""
        if not self._fresh:
            return
        now, served = time.monotonic(), self._served
        if self._stored:
            at, presence, snapshot = self._stored
            same = presence == served.presence and snapshot is served.snapshot
            if now - at < (REFRESH if same else STORE):
                return
        try:
            await asyncio.to_thread(self._copy.store, self._as_copy(served, now))
        except StateError as error:
            if str(error) != self._uncopied:
                self._note("registry", self._config.node.name, str(error))
            self._uncopied = str(error)
        else:
            self._uncopied = ""
        self._stored = (now, served.presence, served.snapshot)

    def _as_copy(self, served: Served, now: float) -> Copy:
        wall, snapshot = time.time(), served.snapshot
        records = [
            Stored(entry.key, entry.value, entry.created, entry.modified)
            for entry in snapshot.entries.values()
        ]
        there = {record.key for record in records}
        records += [
            Stored(key, each.record.render(), 0, 0, wall - (now - each.since))
            for who, each in served.presence.missing.items()
            if (key := served.layout.worker(who)) not in there
        ]
        heard = wall - self._age()
        return Copy(served.layout.prefix, snapshot.cluster, snapshot.revision, heard, records)

    async def _look_at_loads(self, etcd: Etcd, interval: float) -> None:
        """To be shown; nothing hangs on it."""
        layout = self._served.layout
        while True:
            if self._fresh and not self._problem:
                try:
                    found = await read_all(etcd, layout.loads, here_only=True)
                except (EtcdError, AnswerError, Compacted):
                    self._loads = {}
                else:
                    self._loads = _loads(found, layout)
            await asyncio.sleep(interval)


def _loads(found: Snapshot, layout: Layout) -> dict[str, float]:
    loads = {}
    for entry in found.entries.values():
        try:
            loads[str(layout.who(entry.key))] = parse_load(entry.value).load
        except RecordError:
            continue
    return dict(sorted(loads.items()))
