"""What lies in etcd at one revision, and which of it is a worker. Pure.

Nobody is trusted with another's address: whoever has it keeps it, of new ones the one that
registered first (the lower create revision), and the other one is refused and named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from edgenode.config import Config, siblings
from edgenode.config.networks import Holders
from edgenode.config.values import Address
from edgenode.registry.records import Layout, Record, RecordError, WorkerId, parse
from edgenode.registry.revision import digest


@dataclass(frozen=True)
class Entry:
    """One key of etcd, with the revisions at which it was made and last changed."""

    key: str
    value: bytes
    created: int
    modified: int
    lease: int = 0
    """0: it hangs on none."""


@dataclass(frozen=True)
class Change:
    """An event of a watch. `entry`: what lies there now; None: the key is gone."""

    key: str
    modified: int
    entry: Entry | None


@dataclass(frozen=True)
class Snapshot:
    """All records at one revision."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    revision: int = 0
    """0: nothing was ever read."""
    cluster: str = ""
    """etcd's cluster id: revisions of two clusters say nothing of each other."""

    def after(self, changes: Iterable[Change]) -> Snapshot:
        """With the events of a watch. What is older than what is known is passed over."""
        entries, revision = dict(self.entries), self.revision
        for change in changes:
            if change.modified <= self.revision:
                continue
            revision = max(revision, change.modified)
            if change.entry is None:
                entries.pop(change.key, None)
            else:
                entries[change.key] = change.entry
        return Snapshot(entries, revision, self.cluster)

    @cached_property
    def digest(self) -> str:
        """The same on all edges that know the same, whatever they refuse of it."""
        return digest(f"{entry.key} {entry.modified}" for entry in self.entries.values())


@dataclass(frozen=True)
class Rules:
    """Who is let in: what this node's configuration says."""

    regions: frozenset[str]
    networks: Holders
    """Where the mesh leads; addresses beside them could only be reached outside of it."""
    families: frozenset[int]
    """IP versions of which the node has a mesh address."""
    names: Mapping[str, str]
    """Names that are taken, and by whom."""
    addresses: Mapping[Address, str]

    @classmethod
    def of(cls, config: Config) -> Rules:
        """Configured workers are there first, and so are the node itself and the other edges."""
        workers = [(r.name, worker) for r in config.regions for worker in r.workers]
        mesh = config.mesh
        own = dict.fromkeys(mesh.addresses, "this node") if mesh else {}
        edges = {
            address: f"edge {edge.name}"
            for edge in config.edges
            for address in (siblings.addresses(mesh, edge) if mesh else ())
        }
        told = "{}/{} of the configuration"
        return cls(
            regions=frozenset(region.name for region in config.regions),
            networks=Holders(
                ((peer.name,), network)
                for peer in (mesh.peers if mesh else ())
                for network in peer.allowed
            ),
            families=frozenset(address.version for address in own),
            names={worker.name: told.format(region, worker.name) for region, worker in workers},
            addresses=edges
            | own
            | {
                address: told.format(region, worker.name)
                for region, worker in workers
                for address in worker.addresses
            },
        )


_NOBODY: Mapping[WorkerId, Record] = MappingProxyType({})


@dataclass(frozen=True)
class Refusal:
    """A record that is not used."""

    key: str
    why: str
    """With what there is to do about it."""

    def to_json(self) -> dict[str, Any]:
        """For `status`."""
        return {"key": self.key, "why": self.why}


@dataclass(frozen=True)
class Judged:
    """The workers that there are, and what is not taken for one."""

    workers: Mapping[WorkerId, Record]
    refused: tuple[Refusal, ...]


def judge(
    entries: Iterable[Entry],
    layout: Layout,
    rules: Rules,
    before: Mapping[WorkerId, Record] = _NOBODY,
) -> Judged:
    """One bad record takes no other with it. `before`: who has been let in."""
    workers: dict[WorkerId, Record] = {}
    refused: list[Refusal] = []
    names, addresses = dict(rules.names), dict(rules.addresses)
    read: list[tuple[bool, Entry, WorkerId, Record]] = []
    for entry in sorted(entries, key=lambda each: (each.created, each.key)):
        try:
            who, record = layout.who(entry.key), parse(entry.value)
        except RecordError as error:
            why = f"{error}; look at what wrote it, and mend or remove it (etcdctl del)"
            refused.append(Refusal(entry.key, why))
            continue
        # An old record that is given another's address is no older than that one's.
        moved = who not in before or before[who].addresses != record.addresses
        read.append((moved, entry, who, record))
    for _, entry, who, record in sorted(read, key=lambda each: each[0]):
        try:
            _admit(who, record, rules, names, addresses)
        except RecordError as error:
            refused.append(Refusal(entry.key, str(error)))
            continue
        workers[who] = record
        names[who.name] = str(who)
        addresses |= dict.fromkeys(record.addresses, str(who))
    return Judged(workers, tuple(refused))


def _admit(
    who: WorkerId,
    record: Record,
    rules: Rules,
    names: Mapping[str, str],
    addresses: Mapping[Address, str],
) -> None:
    """Raises RecordError."""
    if who.region not in rules.regions:
        raise RecordError(
            f'region "{who.region}" is not in this node\'s configuration: add it to [[regions]], '
            "or mend the worker's"
        )
    if holder := names.get(who.name):
        raise RecordError(f"the name {who.name} is taken by {holder}: give this worker another")
    for address in record.addresses:
        if holder := addresses.get(address):
            raise RecordError(
                f"{address} is the address of {holder}, which was there first: give this worker "
                "its own, or remove the other one (edgenode worker leave)"
            )
        if rules.networks.of(address) is None:
            raise RecordError(
                f"{address} is not in the allowed addresses of any mesh peer: add it to the "
                "`allowed` of the peer that leads there, or mend the worker's"
            )
    if not any(address.version in rules.families for address in record.addresses):
        raise RecordError(
            "this node has no mesh address of the family of its addresses: give it one in [mesh], "
            "or the worker one of a family that it has"
        )
