"""Checks of what another process or a file says in JSON, value by value. Pure.

Each gives the value back with its type. They raise TableError; `where` is for its message.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from ipaddress import ip_address, ip_network
from typing import TypeGuard

YEAR = 31_536_000.0
"""Seconds; keeps what is computed from a time within what the kernel's timers take."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_repr = reprlib.Repr()
_repr.maxstring = 100


class TableError(ValueError):
    """The table is malformed; the message says where and why."""


def mapping(
    value: object, where: str, keys: AbstractSet[str], optional: AbstractSet[str] = frozenset()
) -> Mapping[str, object]:
    """An object with all of `keys`, perhaps some of `optional`, and no other."""
    if not isinstance(value, dict):
        raise TableError(f"{where}: expected an object, got {kind(value)}")
    for key in sorted(keys - value.keys()):
        raise TableError(f"{where}: the key {key!r} is missing")
    for key in value.keys() - keys - optional:
        raise TableError(f"{where}: the key {shown(key)} is unknown")
    return value


def listing(value: object, where: str) -> list[object]:
    if not isinstance(value, list | tuple):
        raise TableError(f"{where}: expected a list, got {kind(value)}")
    return list(value)


def name(value: object, where: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise TableError(
            f"{where}: {shown(value)} is not a name"
            " (a-z, then a-z, 0-9 and -; at most 31 characters)"
        )
    return value


def address(value: object, where: str, version: int | None) -> str:
    family = f"IPv{version}" if version else "IP"
    try:
        address = ip_address(value) if isinstance(value, str) and "%" not in value else None
    except ValueError:
        address = None
    if address is None or (version and address.version != version):
        raise TableError(f"{where}: {shown(value)} is not an {family} address")
    return str(address)


def integer(value: object, where: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise TableError(f"{where}: {shown(value)} is not a whole number between {low} and {high}")
    return value


def seconds(value: object, where: str) -> float:
    if not _is_number(value) or not 0 < value <= YEAR:
        raise TableError(f"{where}: {shown(value)} is not a time in seconds above 0")
    return float(value)


def number(value: object, where: str, most: float) -> float:
    if not _is_number(value) or not 0 <= value <= most:
        raise TableError(f"{where}: {shown(value)} is not a number between 0 and {most:g}")
    return float(value)


def flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise TableError(f"{where}: {shown(value)} is neither true nor false")
    return value


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def texts(value: object, where: str, right: Callable[[str], bool], what: str) -> tuple[str, ...]:
    """A list of texts that are right, none of them twice; `what` is for the message."""
    found: list[str] = []
    for item in listing(value, where):
        if not isinstance(item, str) or not right(item):
            raise TableError(f"{where}: {shown(item)} is not {what}")
        found.append(item)
    distinct(found, where, "value")
    return tuple(found)


def is_prefix(text: str) -> bool:
    """Whether it is a prefix in its canonical text."""
    try:
        return str(ip_network(text)) == text
    except ValueError:
        return False


def shown(value: object) -> str:
    """The value as text for a message, shortened: it may be of any size and depth."""
    return _repr.repr(value)


def distinct(names: list[str], where: str, what: str) -> None:
    """Raises TableError if a name is there twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise TableError(f"{where}: the {what} {name} is there twice")
        seen.add(name)


def kind(value: object) -> str:
    """The JSON type of a value, for a message."""
    return "null" if value is None else type(value).__name__
