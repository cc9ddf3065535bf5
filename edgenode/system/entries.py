"""The boot entries of the EFI system partition, by their files' names. Pure.

A version is a unified kernel image `edgenode_VERSION.efi` in `/EFI/Linux`. While it is on trial its
name has the tries that are left, and those that were made: `edgenode_VERSION+LEFT-DONE.efi`.
systemd-boot counts at each start, and takes one with none left last of all; systemd-bless-boot
takes the counter off once boot-complete.target is reached (systemd.io/AUTOMATIC_BOOT_ASSESSMENT).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_NAME = re.compile(
    r"edgenode_(?P<version>[^+/\s]+)(?:\+(?P<left>[0-9]{1,9})(?:-(?P<done>[0-9]{1,9}))?)?\.efi"
)


@dataclass(frozen=True)
class Entry:
    """One boot entry."""

    version: str
    left: int | None = None
    """Tries; None: it is good, and is not counted."""
    done: int = 0

    @property
    def good(self) -> bool:
        """It was booted, and found well; or it came with the disk."""
        return self.left is None

    @property
    def failed(self) -> bool:
        """It has no tries left, or an operator left it."""
        return self.left == 0

    @property
    def state(self) -> str:
        """For people."""
        return "good" if self.good else "failed" if self.failed else "on trial"

    @property
    def name(self) -> str:
        """The file's."""
        if self.left is None:
            return f"edgenode_{self.version}.efi"
        return f"edgenode_{self.version}+{self.left}-{self.done}.efi"


def parse(name: str) -> Entry | None:
    """None: the file is none of ours."""
    if (found := _NAME.fullmatch(name)) is None:
        return None
    left = found["left"]
    return Entry(found["version"], None if left is None else int(left), int(found["done"] or 0))


def entries(names: Iterable[str]) -> dict[str, Entry]:
    """By version. Where a cut left two names of one version, the one with the fewest tries counts:
    it is the later one, and the more cautious."""
    found: dict[str, Entry] = {}
    for entry in filter(None, map(parse, names)):
        other = found.get(entry.version)
        if other is None or _rank(entry) < _rank(other):
            found[entry.version] = entry
    return found


def _rank(entry: Entry) -> float:
    return float("inf") if entry.left is None else entry.left
