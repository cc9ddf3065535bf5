"""The last accepted table on disk: steering starts from it when control is away."""

from __future__ import annotations

import json
from pathlib import Path

from edgenode import durable
from edgenode.steering.table import Table, TableError


def save(path: Path, table: Table) -> None:
    """Replace the file: after a crash it holds the old table or the new one. Raises OSError."""
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    durable.replace(path, json.dumps(table.to_json()), 0o640)  # control's group reads it


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
