"""The few values that an emergency needs, from a configuration that may be damaged."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgenode import places, regularfile
from edgenode.config.schema import Bgp, Node

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_AT_LINE = re.compile(r"at line (\d+)")
_TRIES = 100

IN_TIME = 2.0
"""Seconds that the disk has: in an emergency BIRD waits for nothing."""


@dataclass(frozen=True)
class Essentials:
    """What could be read, and for the rest what was confirmed last, or the schema's defaults."""

    bird_socket: Path
    run_dir: Path
    state_dir: Path
    groups: tuple[str, ...]
    problem: str
    """Why something may be missing, as a sentence; empty: the file is TOML."""


def read_essentials(path: Path) -> Essentials:
    """Judges nothing and never raises: what cannot be used is as if it were not there."""
    raw, problem = _read(path)
    state_dir = _path(raw, "node", "state_dir") or Node.model_fields["state_dir"].default
    last: dict[str, Any] = {}
    if problem:
        last, _ = _read(places.confirmed_text(state_dir))

    def known(table: str, key: str, default: Path) -> Path:
        return _path(raw, table, key) or _path(last, table, key) or default

    return Essentials(
        known("bgp", "socket", Bgp.model_fields["socket"].default),
        known("node", "run_dir", Node.model_fields["run_dir"].default),
        state_dir,
        tuple(dict.fromkeys([*_groups(raw), *_groups(last)])),
        problem,
    )


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """What can be read of it, and why that may not be all."""
    try:
        text = regularfile.read(path, seconds=IN_TIME).decode("utf-8", "replace")
    except OSError as error:
        return {}, f"{path} cannot be read: {error.strerror or error}"
    raw, trouble = _parse(text)
    return raw, f"{path} is no TOML: {trouble}" if trouble else ""


def _groups(raw: dict[str, Any]) -> list[str]:
    groups = raw.get("groups")
    names = [_get(group, "name") for group in groups] if isinstance(groups, list) else []
    return [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]


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


def _path(raw: dict[str, Any], table: str, key: str) -> Path | None:
    value = _get(raw.get(table), key)
    return Path(value) if isinstance(value, str) and value and "\0" not in value else None
