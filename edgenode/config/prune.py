"""Take what the schema refused out of a raw configuration, so that the rest can be judged too.

An operator mends all of a file's errors in one go. Rules across sections need values that are
well-formed, so what is not is removed (or, a prefix with host bits, mended) for their sake, and
what they then say about the damaged items themselves is not believed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from edgenode.config.errors import KeyPath, Problem


@dataclass(frozen=True)
class Pruned:
    """A raw configuration without the refused values."""

    raw: dict[str, Any]
    damaged: frozenset[KeyPath]
    """The items (or sections) that had something refused, by their path in the file."""
    names: frozenset[str]
    """The damaged items' names."""


def prune(raw: dict[str, Any], refused: Iterable[KeyPath]) -> Pruned | None:
    """None where a whole item would have to go: positions in lists would no longer be right."""
    result = copy.deepcopy(raw)
    damaged: set[KeyPath] = set()
    names: set[str] = set()
    # From the back, so that the removal of a list's item moves none that is still to be removed.
    for key in sorted(set(refused), key=repr, reverse=True):
        owner, item = _owner(result, key)
        damaged.add(owner)
        if isinstance(item, dict) and isinstance(item.get("name"), str):
            names.add(item["name"])
        parent = _at(result, key[:-1])
        if isinstance(parent, dict) and key[-1] in parent:
            del parent[key[-1]]
        elif isinstance(parent, list) and isinstance(key[-1], int) and key[-1] < len(parent):
            if isinstance(parent[key[-1]], dict | list):
                return None
            mended = _mended(parent[key[-1]])
            parent[key[-1] : key[-1] + 1] = [mended] if mended else []
        else:
            return None
    return Pruned(result, frozenset(damaged), frozenset(names))


def believable(problem: Problem, pruned: Pruned) -> bool:
    """Whether a rule's problem is not just the echo of something that was taken out."""
    inside = any(problem.key[: len(owner)] == owner for owner in pruned.damaged if owner)
    return not inside and not any(f'"{name}"' in problem.what for name in pruned.names)


def _owner(raw: Any, key: KeyPath) -> tuple[KeyPath, Any]:
    """The innermost item of a list of tables around a key, else its section."""
    owner: KeyPath = key[:1] if len(key) > 1 else ()
    for length in range(1, len(key)):
        if isinstance(key[length - 1], int) and isinstance(_at(raw, key[:length]), dict):
            owner = key[:length]
    return owner, _at(raw, owner)


def _at(raw: Any, key: KeyPath) -> Any:
    for part in key:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            return None
    return raw


def _mended(value: Any) -> str | None:
    try:
        return str(ip_network(value, strict=False)) if "/" in value else None
    except (ValueError, TypeError):
        return None
