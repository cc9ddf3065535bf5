"""The last accepted table on disk: steering starts from it when control is away."""

from __future__ import annotations

import json
import os
from pathlib import Path

from edgenode.steering.table import Table, TableError


def save(path: Path, table: Table) -> None:
    """Replace the file: after a crash it holds the old table or the new one. Raises OSError."""
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    with open(new, "w", encoding="utf-8", opener=_for_the_group) as file:
        json.dump(table.to_json(), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)  # the new name itself
    finally:
        os.close(directory)


def load(path: Path) -> Table | None:
    """Return the saved table, None if there is none yet. Raises TableError and OSError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not UTF-8: {error}") from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path} is not JSON: {error}") from None
    return Table.from_json(value)


def _for_the_group(path: str, flags: int) -> int:
    return os.open(path, flags, 0o640)
