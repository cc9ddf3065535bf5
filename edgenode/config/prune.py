"""Take what the schema refused out of a raw configuration, so that the rest can be judged too.

An operator mends all of a file's errors in one go. Rules across sections need values that are
well-formed, so what is not is removed (or, a prefix with host bits, mended) for their sake, and
what they then say about the damaged parts themselves is not believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any

from edgenode.config.errors import KeyPath, Problem

_GONE = object()


def without(raw: dict[str, Any], refused: Iterable[KeyPath]) -> Any:
    """A copy of a raw configuration without the values at the refused paths."""
    return _copy(raw, (), frozenset(refused))


def _copy(value: Any, path: KeyPath, refused: frozenset[KeyPath]) -> Any:
    if path in refused:
        return _mended(value)
    if isinstance(value, dict):
        copies = {key: _copy(item, (*path, key), refused) for key, item in value.items()}
        return {key: item for key, item in copies.items() if item is not _GONE}
    if isinstance(value, list):
        items = (_copy(item, (*path, n), refused) for n, item in enumerate(value))
        return [item for item in items if item is not _GONE]
    return value


def _mended(value: Any) -> Any:
    try:
        return str(ip_network(value, strict=False)) if "/" in value else _GONE
    except (ValueError, TypeError):
        return _GONE


def widen(raw: dict[str, Any], key: KeyPath, refused: Iterable[KeyPath]) -> KeyPath | None:
    """What to remove for an error at `key`: the value, or the list's item that lacks it.

    None where that would be a section of which there is only one.
    """
    if _at(raw, key) is not _GONE and key not in refused:
        return key
    numbers = [position for position, part in enumerate(key) if isinstance(part, int)]
    return key[: numbers[-1] + 1] if numbers else None


def original(raw: dict[str, Any], key: KeyPath, refused: Iterable[KeyPath]) -> KeyPath:
    """A path in the copy, as the path in the file: removed items still count there."""
    gone = {path for path in refused if _mended(_at(raw, path)) is _GONE}
    path: KeyPath = ()
    for part in key:
        if isinstance(part, int):
            left = part
            part = 0
            while left or (*path, part) in gone:
                left -= (*path, part) not in gone
                part += 1
        path += (part,)
    return path


def believable(problem: Problem, refused: Iterable[KeyPath]) -> bool:
    """Whether a rule's problem is not just the echo of something that was taken out."""
    return not any(
        _touches(path, problem.key) or (problem.depends and _touches(path, problem.depends))
        for path in refused
    )


def _touches(refused: KeyPath, key: KeyPath) -> bool:
    """Whether a refused value lies in the same item or section as `key`."""
    item = next((n for n, part in enumerate(key) if isinstance(part, int)), len(key) - 1)
    return refused[: item + 1] == key[: item + 1]


def _at(raw: Any, key: KeyPath) -> Any:
    for part in key:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            return _GONE
    return raw
