"""What a node makes of the registry: whom it steers to, what it refuses, and how it is told. Pure.

Times are seconds of one clock of the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgenode.config import Config
from edgenode.registry.presence import Presence, Times
from edgenode.registry.records import Layout, WorkerId, as_worker
from edgenode.registry.snapshot import Judged, Rules, Snapshot, judge

MAX_TOLD = 20
"""Refusals that are told one by one at a time: a thousand would say no more."""


@dataclass(frozen=True)
class Served:
    """Under one configuration."""

    layout: Layout
    rules: Rules
    times: Times
    snapshot: Snapshot = field(default_factory=Snapshot)
    presence: Presence = field(default_factory=Presence)
    judged: Judged = field(default_factory=lambda: Judged({}, ()))

    def after(self, snapshot: Snapshot, now: float) -> Served:
        """Another state of etcd, or more time."""
        if snapshot is self.snapshot and not self.presence.missing:
            return self
        judged = (
            self.judged
            if snapshot is self.snapshot
            else judge(snapshot.entries.values(), self.layout, self.rules, self.presence.there)
        )
        presence = self.presence.after(judged, now, self.times, self.rules)
        return replace(self, snapshot=snapshot, judged=judged, presence=presence)

    def merged(self, config: Config) -> Config:
        """The configuration with these workers beside its own."""
        extra: dict[str, list[WorkerId]] = {}
        workers = self.presence.workers
        for who in workers:
            extra.setdefault(who.region, []).append(who)
        regions = tuple(
            region.model_copy(
                update={
                    "workers": (
                        *region.workers,
                        *(as_worker(who, workers[who]) for who in extra.get(region.name, ())),
                    )
                }
            )
            for region in config.regions
        )
        return config.model_copy(update={"regions": regions})


def news(before: Served, after: Served) -> list[tuple[str, str]]:
    """What is to be told of a change: subject and sentence, once each."""
    told = []
    known = {refusal.key: refusal.why for refusal in before.judged.refused}
    fresh = [each for each in after.judged.refused if known.get(each.key) != each.why]
    told += [(each.key, f"is not used: {each.why}") for each in fresh[:MAX_TOLD]]
    if len(fresh) > MAX_TOLD:
        told.append((after.layout.prefix, f"{len(fresh) - MAX_TOLD} more records are not used"))
    told += _held(before, after)
    earlier, later = before.presence.workers, after.presence.workers
    changes = [(str(who), "registered") for who in later if who not in earlier]
    changes += [(str(who), "has gone") for who in earlier if who not in later]
    changes += [
        (str(who), "is draining" if later[who].draining else "is draining no more")
        for who in later
        if who in earlier and later[who].draining is not earlier[who].draining
    ]
    told += changes[:MAX_TOLD]
    if len(changes) > MAX_TOLD:
        told.append((after.layout.prefix, f"{len(changes) - MAX_TOLD} more workers came or went"))
    return told


def _held(before: Served, after: Served) -> list[tuple[str, str]]:
    """Of each region whose records begin to be held."""
    earlier = before.presence.held()
    return [
        (
            region,
            f"{count} of {count + _there(after, region)} workers' records have gone at once: they "
            f"stay for up to {after.times.hold:g} s, and probes decide who is used. Look at etcd, "
            "and at the leases of those workers (workers that drain before they leave go at once)",
        )
        for region, count in after.presence.held().items()
        if region not in earlier
    ]


def _there(served: Served, region: str) -> int:
    return sum(who.region == region for who in served.presence.there)


def missing(served: Served, now: float) -> list[Mapping[str, object]]:
    """For `status`: who is kept although the record has gone."""
    held = served.presence.held()
    return [
        {"worker": str(who), "for_s": round(now - each.since, 1), "held": who.region in held}
        for who, each in sorted(served.presence.missing.items(), key=lambda item: item[0])
    ]
