"""This appliance: its disk, its boot entries, and which version runs."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgenode import durable
from edgenode.system import gpt
from edgenode.system.entries import Entry, entries, parse
from edgenode.system.errors import UpdateError
from edgenode.system.slots import Slot, slots

STATE = Path("/var/lib/edgenode/system")
COUNTED = Path("/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f")
"""There while the version that runs is on trial (systemd.io/BOOT_LOADER_INTERFACE)."""
_KERNELS = Path("/efi/EFI/Linux")


@dataclass(frozen=True)
class Machine:
    """What an update works on."""

    running: str
    disk: Path
    kernels: Path = _KERNELS
    """The directory of the boot entries."""
    sector: int = 512

    def partitions(self) -> list[gpt.Partition]:
        """Raises UpdateError."""
        try:
            return gpt.read(self.disk, self.sector)
        except (OSError, gpt.TableError) as error:
            raise UpdateError(f"{self.disk}: {error}") from None

    def entries(self) -> dict[str, Entry]:
        """By version. Raises UpdateError."""
        return entries(path.name for path in self._files())

    def slots(self) -> tuple[Slot, ...]:
        """Raises UpdateError."""
        return slots(self.partitions(), self.entries(), self.running)

    def kernel_is(self, version: str, checksum: str) -> bool:
        """Whether there is just one kernel image of a version, and that one whole."""
        found = self._of(version)
        return len(found) == 1 and _sha256(found[0]) == checksum

    def remove_kernels(self, version: str) -> None:
        """Those of one version, and drafts that a cut left. Raises UpdateError."""
        with _told(self.kernels):
            drafts = [path for path in self._files() if path.name.startswith(".#")]
            for path in [*self._of(version), *drafts]:
                path.unlink()
            durable.sync_directory(self.kernels)

    def give_up(self, version: str) -> None:
        """Let a version count as failed: it is booted last of all. Raises UpdateError."""
        with _told(self.kernels):
            for path in self._of(version):
                entry = parse(path.name)
                assert entry is not None
                failed = Entry(version, 0, max(entry.done, 1))
                if path.name != failed.name:
                    path.rename(path.with_name(failed.name))
            durable.sync_directory(self.kernels)

    def settle(self, version: str) -> None:
        """All that was written is on the disk. Raises UpdateError.

        vfat writes a file's size after its name: without this, a cut leaves an empty kernel image.
        """
        with _told(self.disk):
            for path in [*self._of(version), self.disk]:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            durable.sync_directory(self.kernels)
            os.sync()

    def _of(self, version: str) -> list[Path]:
        found = ((path, parse(path.name)) for path in self._files())
        return [path for path, entry in found if entry and entry.version == version]

    def _files(self) -> list[Path]:
        with _told(self.kernels):
            return sorted(self.kernels.iterdir())


def this() -> Machine:
    """The one that this runs on. Raises UpdateError."""
    try:
        values = dict(
            line.split("=", 1)
            for line in Path("/usr/lib/os-release").read_text().splitlines()
            if "=" in line
        )
    except OSError:
        values = {}
    if values.get("IMAGE_ID", "").strip('"') != "edgenode":
        raise UpdateError("this is no appliance: its system comes from its own distribution")
    running = values.get("IMAGE_VERSION", "").strip('"')
    return Machine(running, *_disk())


def _disk() -> tuple[Path, Path, int]:
    """The disk that /var is on: the one that was flashed. By the kernel, which is never late."""
    with _told(Path("/var")):
        device = os.stat("/var").st_dev
        node = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().parent
        sector = int((node / "queue/logical_block_size").read_text())
    return Path("/dev") / node.name, _KERNELS, sector


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One update or rollback at a time. Raises UpdateError."""
    with _told(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UpdateError("another `edgenode system` is at work: wait for it") from None
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UpdateError(f"{error.filename or path}: {error.strerror}: are you root?") from None


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
