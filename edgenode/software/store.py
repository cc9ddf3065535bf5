"""Where releases lie on the appliance, and which one each part starts with.

    extensions/edgenode_1.2.raw
    extensions/control/edgenode.raw -> ../edgenode_1.2.raw      what control starts with
    extensions/control/before.raw   -> ../edgenode_1.1.raw      what it started with until then
    extensions/failed.json                                      releases that failed, and why

A part's link changes only when its trial was passed: who comes up after a power cut has what was
good before.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgenode import durable
from edgenode.software.errors import SoftwareError
from edgenode.software.parts import Part

PLACE = Path("/var/lib/edgenode/extensions")
_FILE = re.compile(r"edgenode_([0-9]+(?:\.[0-9]+)*(?:[~+.-][a-z0-9.]+)?)\.raw")
"""As `./run image --version` takes it."""


class Store:
    """That directory."""

    def __init__(self, place: Path = PLACE) -> None:
        """Raises SoftwareError: this is no appliance."""
        self.place = place
        if not (place / Part.CONTROL.value).is_dir():
            raise SoftwareError(
                f"this is no appliance ({place} is not there): on a plain host the playbook "
                "installs edgenode, see docs/provisioning.md"
            )

    def versions(self) -> list[str]:
        """What is there, by name."""
        found = (_FILE.fullmatch(file.name) for file in self.place.iterdir())
        return sorted(match[1] for match in found if match)

    def file(self, version: str) -> Path:
        """Where a version lies, or would."""
        return self.place / f"edgenode_{version}.raw"

    def kept(self, part: Part) -> str | None:
        """What it starts with."""
        return self._linked(part, "edgenode")

    def before(self, part: Part) -> str | None:
        """What it started with before that."""
        return self._linked(part, "before")

    def keep(self, part: Part, version: str) -> None:
        """From now on it starts with that one. Raises SoftwareError."""
        with self._writing():
            if (old := self.kept(part)) not in (None, version):
                self._link(part, "before", str(old))
            self._link(part, "edgenode", version)

    def failed(self) -> dict[str, str]:
        """Releases that failed their trial, and why."""
        try:
            data = json.loads((self.place / "failed.json").read_text())
            return {str(version): str(why) for version, why in data.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def mark(self, version: str, why: str | None) -> None:
        """It failed; None: it is given another chance. Raises SoftwareError."""
        failed = {each: text for each, text in self.failed().items() if each != version}
        if why is not None:
            failed[version] = why
        with self._writing():
            durable.replace(self.place / "failed.json", json.dumps(failed, indent=1) + "\n", 0o644)

    def remove(self, version: str) -> None:
        """Raises SoftwareError."""
        with self._writing():
            self.file(version).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes releases meanwhile. Raises SoftwareError: somebody does."""
        with self._writing():
            descriptor = os.open(self.place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise SoftwareError("another `edgenode software` is at work: wait for it") from None
        try:
            yield
        finally:
            os.close(descriptor)

    def take(self, source: Path) -> Path:
        """A copy beside the others, under a name that nothing starts. Raises SoftwareError."""
        draft = self.place / ".draft.raw"
        try:
            with open(source, "rb") as file, open(draft, "wb") as copy:
                while chunk := file.read(1 << 20):
                    copy.write(chunk)
                copy.flush()
                os.fsync(copy.fileno())
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise SoftwareError(f"{source} could not be copied: {error.strerror}") from None
        return draft

    def add(self, draft: Path, version: str) -> None:
        """The copy gets its name. Raises SoftwareError: another of that version is there."""
        if not _FILE.fullmatch(f"edgenode_{version}.raw"):
            raise SoftwareError(f"its version {version!r} is none, as 1.2.3")
        there = self.file(version)
        if there.exists() and there.read_bytes() != draft.read_bytes():
            raise SoftwareError(
                f"another edgenode {version} is there already: give the new one a higher version"
            )
        with self._writing():
            os.replace(draft, there)
            durable.sync_directory(self.place)

    def _linked(self, part: Part, name: str) -> str | None:
        with contextlib.suppress(OSError):
            target = os.readlink(self.place / part.value / f"{name}.raw")
            if match := _FILE.fullmatch(os.path.basename(target)):
                return match[1]
        return None

    def _link(self, part: Part, name: str, version: str) -> None:
        place = self.place / part.value
        draft = place / f".{name}.new"
        draft.unlink(missing_ok=True)
        draft.symlink_to(f"../edgenode_{version}.raw")
        os.replace(draft, place / f"{name}.raw")
        durable.sync_directory(place)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SoftwareError(f"{self.place} cannot be written: {error.strerror}") from None
