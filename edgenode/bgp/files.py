"""The configuration files on disk: whole or not at all, and readable for BIRD."""

from __future__ import annotations

import grp
import os
import stat
import tempfile
from pathlib import Path

from edgenode.durable import sync_directory

BIRD_GROUP = "bird"
"""Debian's BIRD runs as this user and group."""


class FileError(Exception):
    """A file could not be written; the text is a sentence for the operator."""


def write_atomically(
    path: Path, text: str, *, mode: int, group: str | None = None, lasting: bool = True
) -> None:
    """Replace `path` by a file with this text, this mode and, where it exists, this group.

    `lasting`: it is on the disk when this returns, which may take long. Raises FileError.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                if (gid := _gid(group)) is not None and gid != os.stat(descriptor).st_gid:
                    os.fchown(descriptor, -1, gid)
                os.fchmod(descriptor, mode)
                if lasting:
                    os.fsync(descriptor)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
        if lasting:
            sync_directory(path.parent)
    except OSError as error:
        raise FileError(
            f"{path} cannot be written ({error.strerror}): "
            "edgenode needs a directory there in which it may write (bgp.config)"
        ) from error


def sync(path: Path) -> None:
    """Wait until a file and its name are on the disk, if it is there at all. Raises FileError.

    Its name too: with that of the file before, which has levels in it, BIRD would announce by
    itself after a loss of power.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_directory(path.parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise FileError(f"{path} may not be on the disk ({error.strerror})") from error


def keep(
    path: Path, text: str, *, mode: int, group: str | None = None, lasting: bool = True
) -> None:
    """`write_atomically`, unless the file is there with this text, this mode and this group."""
    if _read_or_none(path) == text:
        there = path.stat()
        if stat.S_IMODE(there.st_mode) == mode and _gid(group) in (None, there.st_gid):
            return
    write_atomically(path, text, mode=mode, group=group, lasting=lasting)


def remove(path: Path, beginning: str) -> None:
    """Remove a file if its text begins so: no one else's. Raises FileError."""
    if not (_read_or_none(path) or "").startswith(beginning):
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{path} cannot be removed ({error.strerror}): remove it") from error


def _read_or_none(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None


def _gid(group: str | None) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid if group else None
    except KeyError:
        return None
