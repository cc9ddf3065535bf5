"""Files that a crash leaves whole: the old text, or the new one. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, text: str, mode: int) -> None:
    """Replace a file by this text, of just this mode whatever the umask. Raises OSError.

    It is on disk, and so is its name, when this returns. `NAME.new` beside it is the draft.
    """
    draft = path.with_name(path.name + ".new")

    def private(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    with open(draft, "w", encoding="utf-8", opener=private) as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Names that were made, changed or removed in it are on disk. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
