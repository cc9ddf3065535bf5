"""What a source offers, by its SHA256SUMS. Pure.

Of each version there are three files: its kernel image, and its root and that one's verity hashes,
gzipped, with the UUIDs that the partitions are to have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from edgenode.system.versions import VALID

_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S+)")
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_NAME = re.compile(
    r"edgenode_(?P<version>.+?)"
    rf"(?:\.(?P<part>root-x86-64(?:-verity)?)\.(?P<uuid>{_UUID})\.raw\.gz|\.efi)"
)


@dataclass(frozen=True)
class Release:
    """One version, whole."""

    version: str
    kernel: str
    """The SHA-256 of its kernel image."""
    root: UUID
    verity: UUID


def name_of(version: str, part: str, uuid: UUID | None = None) -> str:
    """A file's name: of the part `efi`, `root-x86-64` or `root-x86-64-verity`."""
    return f"edgenode_{version}.{part}" + (f".{uuid}.raw.gz" if uuid else "")


def sums(text: str) -> dict[str, str]:
    """SHA-256 by name, as sha256sum writes it. Raises ValueError, a sentence."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if (match := _LINE.fullmatch(line)) is None:
            raise ValueError(f"line {number} of SHA256SUMS is none of sha256sum's")
        found[match[2]] = match[1]
    return found


def releases(text: str) -> dict[str, Release]:
    """The versions of which all three files are named. Raises ValueError, a sentence."""
    kernels: dict[str, str] = {}
    parts: dict[tuple[str, str], UUID] = {}
    for name, checksum in sums(text).items():
        match = _NAME.fullmatch(name)
        if match is None or not VALID.fullmatch(match["version"]):
            continue
        if match["part"]:
            parts[match["version"], match["part"]] = UUID(match["uuid"])
        else:
            kernels[match["version"]] = checksum
    found = {}
    for version, kernel in kernels.items():
        root = parts.get((version, "root-x86-64"))
        verity = parts.get((version, "root-x86-64-verity"))
        if root and verity:
            found[version] = Release(version, kernel, root, verity)
    return found
