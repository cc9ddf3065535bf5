"""In which line of a TOML file a key stands: tomllib does not tell, an operator wants to know."""

from __future__ import annotations

import re

from edgenode.config.errors import KeyPath

_HEADER = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.\s-]+?)\s*\]\]?\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(r"^\s*([A-Za-z0-9_-]+(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*=")


def index(text: str) -> dict[KeyPath, int]:
    """The line (from 1) of each table header and each assignment.

    Quoted keys and text inside multi-line strings are not understood: this only serves
    messages, and a key that is not found has no line.
    """
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _enter(header[2], header[1] == "[[", counts)
            lines.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            lines.setdefault(table + _parts(assignment[1]), number)
    return lines


def _parts(dotted: str) -> KeyPath:
    return tuple(part.strip() for part in dotted.split("."))


def _enter(dotted: str, is_array: bool, counts: dict[KeyPath, int]) -> KeyPath:
    """The key path of a header: a table below an array belongs to the array's newest item."""
    path: KeyPath = ()
    parts = _parts(dotted)
    for position, part in enumerate(parts):
        path += (part,)
        if is_array and position == len(parts) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path += (counts[path],)
    return path


def line_of(key: KeyPath, lines: dict[KeyPath, int]) -> int | None:
    """The line of a key, or of the nearest thing around it."""
    while key:
        if key in lines:
            return lines[key]
        key = key[:-1]
    return None
