"""Workers whose records go: at once, a little later, or much later. Pure; times in seconds.

A record that goes says that a lease ended, and that is as often etcd's trouble as the worker's.
Whether a worker answers is what the probes find out; so nothing is lost by keeping it for a while.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edgenode.registry.records import Record, WorkerId
from edgenode.registry.snapshot import Judged, Rules


@dataclass(frozen=True)
class Times:
    """See `config.registry.Registry`."""

    linger: float
    hold: float


@dataclass(frozen=True)
class Missing:
    """A worker whose record has gone, and that was not draining."""

    record: Record
    since: float


@dataclass(frozen=True)
class Presence:
    """The workers that are steered to."""

    there: Mapping[WorkerId, Record] = field(default_factory=dict)
    missing: Mapping[WorkerId, Missing] = field(default_factory=dict)

    @property
    def workers(self) -> dict[WorkerId, Record]:
        """All of them, by region and name."""
        gone = {who: each.record for who, each in self.missing.items()}
        return dict(sorted({**gone, **self.there}.items()))

    def held(self) -> dict[str, int]:
        """The regions most of whose records are missing, and how many of each; all of them where
        most of the fleet's are.

        One alone is never held: a region of one worker, or of two, could not lose any.
        """
        missing = Counter(who.region for who in self.missing)
        there = Counter(who.region for who in self.there)
        most = 1 < len(self.missing) > len(self.there)
        return {
            region: count
            for region, count in missing.items()
            if most or (count > 1 and count > there[region])
        }

    def after(self, judged: Judged, now: float, times: Times, rules: Rules) -> Presence:
        """With what is registered now. A worker that was draining goes at once: it was meant."""
        missing = dict(self.missing) | {
            who: Missing(record, now)
            for who, record in self.there.items()
            if who not in judged.workers and not record.draining
        }
        missing = dict(_not_replaced(missing, judged, rules))
        waiting = Presence(judged.workers, missing)
        held = waiting.held()
        stay = {
            who: each
            for who, each in missing.items()
            if now - each.since
            < (max(times.linger, times.hold) if who.region in held else times.linger)
        }
        return Presence(judged.workers, stay)


def _not_replaced(
    missing: Mapping[WorkerId, Missing], judged: Judged, rules: Rules
) -> Iterator[tuple[WorkerId, Missing]]:
    """Without those that are back, or whose name or address another one has by now, registered or
    in the configuration."""
    if not missing:
        return
    names = rules.names.keys() | {who.name for who in judged.workers}
    addresses = rules.addresses.keys() | {
        a for record in judged.workers.values() for a in record.addresses
    }
    for who, each in missing.items():
        if who.name not in names and addresses.isdisjoint(each.record.addresses):
            yield who, each
