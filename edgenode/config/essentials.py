"""The few values that an emergency needs, from a configuration that may be damaged."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgenode import regularfile
from edgenode.config.schema import Bgp, Node

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_AT_LINE = re.compile(r"at line (\d+)")
_TRIES = 100

IN_TIME = 2.0
"""Seconds that the disk has: in an emergency BIRD waits for nothing."""


@dataclass(frozen=True)
class Essentials:
    """What could be read, and the schema's defaults for the rest."""

    bird_socket: Path
    run_dir: Path
    state_dir: Path
    groups: tuple[str, ...]
    problem: str
    """Why something may be missing, as a sentence; empty: the file is TOML."""


def read_essentials(path: Path) -> Essentials:
    """Judges nothing and never raises: what cannot be used is as if it were not there."""
    problem = ""
    text = ""
    try:
        text = regularfile.read(path, seconds=IN_TIME).decode("utf-8", "replace")
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror or error}"
    raw, trouble = _parse(text)
    if trouble:
        problem = f"{path} is no TOML: {trouble}"
    groups = raw.get("groups")
    names = [_get(group, "name") for group in groups] if isinstance(groups, list) else []
    return Essentials(
        _path(raw.get("bgp"), "socket", Bgp.model_fields["socket"].default),
        _path(raw.get("node"), "run_dir", Node.model_fields["run_dir"].default),
        _path(raw.get("node"), "state_dir", Node.model_fields["state_dir"].default),
        tuple(name for name in names if isinstance(name, str) and _NAME.fullmatch(name)),
        problem,
    )


def _parse(text: str) -> tuple[dict[str, Any], str]:
    """What stands before the first error, and that error."""
    trouble = ""
    for _ in range(_TRIES):
        try:
            return tomllib.loads(text), trouble
        except tomllib.TOMLDecodeError as error:
            trouble = trouble or str(error)
            lines = text.splitlines(keepends=True)
            at = _AT_LINE.search(str(error))
            text = "".join(lines[: int(at[1]) - 1 if at else -1])
        except (ValueError, RecursionError) as error:
            # A number of thousands of digits, or brackets as deep: it says not where, but is long.
            trouble = trouble or str(error)
            lines = text.splitlines(keepends=True)
            lines.remove(max(lines, key=len))
            text = "".join(lines)
    return {}, trouble


def _get(table: object, key: str) -> object:
    return table.get(key) if isinstance(table, dict) else None


def _path(table: object, key: str, default: Path) -> Path:
    value = _get(table, key)
    return Path(value) if isinstance(value, str) and value and "\0" not in value else default
