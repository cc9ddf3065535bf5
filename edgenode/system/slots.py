"""What is in the two slots, and what may be done with that. Pure.

A version is in a slot when both of its partitions have its label; it can be started when it has a
boot entry, too. What is refused is refused before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgenode.system.entries import Entry
from edgenode.system.errors import UpdateError
from edgenode.system.gpt import ROOT, ROOT_VERITY, Partition
from edgenode.system.manifest import Release
from edgenode.system.versions import Version, newest

EMPTY = "_empty"
_LABEL = "root_"


@dataclass(frozen=True)
class Slot:
    """One of the two."""

    version: str | None
    """None: it is empty, or half written."""
    entry: Entry | None
    """None: nothing starts it."""
    running: bool

    @property
    def state(self) -> str:
        """For people."""
        if self.version is None:
            return "empty"
        return "incomplete" if self.entry is None else self.entry.state


def slots(
    partitions: Iterable[Partition], entries: Mapping[str, Entry], running: str
) -> tuple[Slot, ...]:
    """In the order of the disk."""
    partitions = list(partitions)
    hashed = [each.label for each in partitions if each.type == ROOT_VERITY]
    found = []
    for root in (each for each in partitions if each.type == ROOT):
        whole = root.label.startswith(_LABEL) and root.label in hashed
        version = root.label.removeprefix(_LABEL) if whole else None
        entry = entries.get(version) if version else None
        found.append(Slot(version, entry, version == running))
    return tuple(found)


def installed(release: Release, partitions: Iterable[Partition]) -> bool:
    """Whether both partitions of a release are on the disk, with its label and its UUIDs."""
    wanted = {(ROOT, release.root), (ROOT_VERITY, release.verity)}
    label = f"{_LABEL}{release.version}"
    return wanted <= {(each.type, each.uuid) for each in partitions if each.label == label}


def chosen(
    offered: Mapping[str, Release],
    wanted: str | None,
    running: str,
    entries: Mapping[str, Entry],
) -> Release | None:
    """What is to be installed; None: what runs is the newest. Raises UpdateError."""
    mine = entries.get(running)
    if mine is not None and not mine.good:
        raise UpdateError(
            f"{running}, which runs, is {mine.state}: an update would overwrite the version that "
            "it falls back to; wait until it is good (edgenode system status)"
        )
    if wanted is None:
        if not offered:
            raise UpdateError("the source offers no version: see `./run release`")
        wanted = newest(list(offered))
        if Version(wanted) <= Version(running):
            return None
    release = offered.get(wanted)
    if release is None:
        raise UpdateError(
            f"the source has no version {wanted}; it has: {', '.join(sorted(offered, key=Version))}"
        )
    if wanted == running:
        return None
    if Version(wanted) < Version(running):
        raise UpdateError(
            f"{wanted} is older than {running}, which runs: `edgenode system rollback` goes back "
            "to the other slot"
        )
    entry = entries.get(wanted)
    if entry is not None and entry.failed:
        raise UpdateError(
            f"{wanted} failed on this node, and is not installed again: ship a higher one"
        )
    return release


def other(found: Iterable[Slot]) -> str:
    """The version to go back to. Raises UpdateError."""
    found = list(found)
    for slot in found:
        if slot.running and slot.entry and not slot.entry.good:
            raise UpdateError(
                f"{slot.version}, which runs, is {slot.entry.state}: wait for the end of its trial"
            )
    for slot in found:
        if slot.running or slot.version is None:
            continue
        if slot.entry is None:
            raise UpdateError(f"{slot.version} is in the other slot without a boot entry")
        if slot.entry.failed:
            raise UpdateError(
                f"{slot.version}, in the other slot, failed on this node: ship a higher one"
            )
        if not slot.entry.good:
            raise UpdateError(
                f"{slot.version}, in the other slot, was not found good on this node yet"
            )
        return slot.version
    raise UpdateError("the other slot is empty: there is nothing to go back to")
