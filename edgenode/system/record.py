"""What worked before an update, kept in /var for the version that comes after it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from edgenode import durable
from edgenode.system.gate import Record

_FILE = "before.json"

LEAST = Record(units=("ssh.service", "systemd-networkd.service"))
"""Asked of a version before which nothing was recorded: that it can be reached, and mended."""


def keep(directory: Path, record: Record) -> None:
    """Raises OSError."""
    durable.replace(directory / _FILE, json.dumps(asdict(record), indent=1) + "\n", 0o600)


def kept(directory: Path) -> Record:
    """What a version is measured by. What cannot be read asks for the least."""
    try:
        data = json.loads((directory / _FILE).read_text("utf-8"))
        return Record(
            units=tuple(map(str, data["units"])),
            cards=tuple(map(str, data["cards"])),
            groups=tuple(map(str, data["groups"])),
            sessions=bool(data["sessions"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return LEAST
