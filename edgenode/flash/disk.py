"""A disk as Linux knows it, and why it must not be written to. See sysfs(5), proc(5)."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgenode.flash.errors import FlashError
from edgenode.flash.table import SECTOR

_SYS = Path("/sys/class/block")
_OURS = ("/", "/usr", "/boot", "/boot/efi", "/efi", "/var")
"""What the system that runs cannot do without."""


@dataclass(frozen=True)
class Mount:
    """A line of proc_pid_mountinfo(5)."""

    number: str
    """MAJOR:MINOR of its device."""
    place: str
    source: str


@dataclass(frozen=True)
class Disk:
    """One, and what it is used for."""

    path: Path
    size: int
    """Bytes."""
    sector: int = SECTOR
    model: str = ""
    serial: str = ""
    partition: bool = False
    read_only: bool = False
    mounted: tuple[str, ...] = ()
    """Where it, or a partition of it, is mounted, or `swap`."""
    holders: tuple[str, ...] = ()
    """Devices that are made of it: dm, md, loop."""
    system: bool = False
    """The running system lives on it."""

    @property
    def title(self) -> str:
        """For the operator to know it by."""
        named = " ".join(part for part in (self.model, self.serial) if part) or "no model is known"
        return f"{self.path}: {human(self.size)}, {named}"


def refusal(disk: Disk, needs: int) -> str | None:
    """Why it is not to be written to; None: it may. Pure.

    `needs`: bytes that image and identity take.
    """
    if disk.partition:
        return f"{disk.path} is a partition: name the whole disk"
    if disk.system:
        return f"{disk.path} is the disk that this system runs from"
    if disk.mounted:
        where = ", ".join(disk.mounted)
        return f"{disk.path} is in use ({where}): unmount it, or is it another disk?"
    if disk.holders:
        of = ", ".join(disk.holders)
        return f"{disk.path} is a part of {of}: take that down, or is it another disk?"
    if disk.read_only:
        return f"{disk.path} is read-only"
    if disk.sector != SECTOR:
        return f"{disk.path} has sectors of {disk.sector} bytes, and the image is for {SECTOR}"
    if disk.size < needs:
        return f"{disk.path} is too small: it has {human(disk.size)}, and {human(needs)} are needed"
    return None


def look(path: Path) -> Disk:
    """Raises FlashError: it is no block device."""
    try:
        status = path.stat()
    except OSError as error:
        raise FlashError(f"{path}: {error.strerror}") from None
    if not stat.S_ISBLK(status.st_mode):
        raise FlashError(f"{path} is no disk (no block device)")
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    place = Path(f"/sys/dev/block/{number}").resolve()
    disk = place.parent if (place / "partition").exists() else place
    parts = [disk, *(each.parent for each in disk.glob("*/partition"))]
    numbers = {_text(part / "dev"): part.name for part in parts}
    holders = sorted({each.name for part in parts for each in _entries(part / "holders")})
    mounts = parse_mounts(_text(Path("/proc/self/mountinfo")))
    return Disk(
        path=path,
        size=int(_text(disk / "size") or 0) * 512,
        sector=int(_text(disk / "queue/logical_block_size") or SECTOR),
        model=_text(disk / "device/model"),
        serial=_text(disk / "device/serial") or _text(disk / "serial"),
        partition=place != disk,
        read_only=_text(disk / "ro") == "1",
        mounted=tuple(_used(numbers, mounts)),
        holders=tuple(holders),
        system=disk.name in _system(mounts),
    )


def human(size: int) -> str:
    """Bytes, as they are printed on disks."""
    for unit, power in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if size >= power:
            return f"{size / power:.1f} {unit}"
    return f"{size} bytes"


def parse_mounts(text: str) -> list[Mount]:
    """Of proc_pid_mountinfo(5), in the order of mounting. Pure."""
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        found.append(Mount(fields[2], unescaped(fields[4]), unescaped(after.split()[1])))
    return found


def mount_of(place: str, mounts: list[Mount]) -> Mount | None:
    """The mount that a path (absolute, without links) lies on. Pure."""
    holding = [each for each in mounts if f"{place}/".startswith(f"{each.place.rstrip('/')}/")]
    # Of two on one place the later covers the other.
    return max(reversed(holding), key=lambda each: len(each.place), default=None)


def unescaped(text: str) -> str:
    r"""As the kernel writes paths there: a space is \040. Pure."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _devices(mount: Mount) -> Iterator[str]:
    """Numbers of the block devices that it can be known by.

    What spans several devices (btrfs) has a number that is no device's: its source is one.
    """
    yield mount.number
    with contextlib.suppress(OSError):
        status = os.stat(mount.source)
        if mount.source.startswith("/") and stat.S_ISBLK(status.st_mode):
            yield f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _used(numbers: dict[str, str], mounts: list[Mount]) -> Iterator[str]:
    for mount in mounts:
        for name in {numbers[each] for each in _devices(mount) if each in numbers}:
            yield f"{name} on {mount.place}"
    for line in _text(Path("/proc/swaps")).splitlines()[1:]:
        name = Path(line.split()[0]).resolve().name
        if name in numbers.values():
            yield f"{name} as swap"


def _system(mounts: list[Mount]) -> set[str]:
    """The disks below what the running system has mounted, through dm and md."""
    found = set()
    for place in _OURS:
        mount = mount_of(os.path.realpath(place), mounts)
        below = [Path(f"/sys/dev/block/{number}") for number in _devices(mount)] if mount else []
        while below:
            block = below.pop().resolve()
            if (block / "partition").exists():
                block = block.parent
            found.add(block.name)
            below += _entries(block / "slaves")
    return found


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
