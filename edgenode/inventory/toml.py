"""Write TOML (1.0): Python reads it out of the box, and does not write it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(document: Mapping[str, Any]) -> str:
    """A document of text, numbers, booleans, lists and mappings.

    The same document gives the same text. Raises TypeError, with the key, for any other value.
    """
    return "\n".join(_table(document, ())).strip("\n") + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Values first: behind a table's header they would belong to that table."""
    for key, value in table.items():
        if not isinstance(value, Mapping) and not _is_tables(value):
            yield f"{_key(key)} = {_value(value, (*path, key))}"
    for key, value in table.items():
        here = (*path, key)
        name = ".".join(_key(part) for part in here)
        if isinstance(value, Mapping):
            yield f"\n[{name}]"
            yield from _table(value, here)
        elif _is_tables(value):
            for item in value:
                yield f"\n[[{name}]]"
                yield from _table(item, here)


def _is_tables(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and bool(value)
        and all(isinstance(item, Mapping) for item in value)
    )


def _value(value: Any, path: tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value + 0)  # + 0: a plain number, whatever class wraps it
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Sequence):
        return f"[{', '.join(_value(item, path) for item in value)}]"
    if isinstance(value, Mapping):
        pairs = (f"{_key(key)} = {_value(item, (*path, key))}" for key, item in value.items())
        return f"{{ {', '.join(pairs)} }}"
    raise TypeError(f"{'.'.join(map(str, path))}: {value!r} has no form in TOML")


def _text(text: str) -> str:
    """JSON's escapes are TOML's, but for DEL, which TOML wants escaped too."""
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: Any) -> str:
    return str(key) if _BARE.fullmatch(str(key)) else _text(str(key))
