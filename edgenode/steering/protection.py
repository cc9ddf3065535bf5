"""What a service takes from its users, as the steering table says it. By default: everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from edgenode.steering import checked
from edgenode.steering.checked import TableError
from edgenode.steering.prefixes import prefixes

MOST_PREFIXES = 20_000
"""Of each list of a service."""


@dataclass(frozen=True, slots=True)
class Protection:
    """Limits are for the node; 0 (of a list, empty): none.

    `connections` live at a time, `per_source` of them from one source, which is a prefix of
    `source_prefix_v4` or `source_prefix_v6` bits. `rate` new ones a second, `burst` of them at
    once; `source_rate` and `source_burst` likewise for one source. Times in seconds:
    `half_closed_timeout` after one side has ended and nothing moves, `lifetime` in any case.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    connections: int = 0
    per_source: int = 0
    source_prefix_v4: int = 32
    source_prefix_v6: int = 64
    rate: float = 0.0
    burst: int = 0
    source_rate: float = 0.0
    source_burst: int = 0
    half_closed_timeout: float = 0.0
    lifetime: float = 0.0

    @property
    def guarded(self) -> bool:
        """Whether anybody may be turned away."""
        return bool(
            self.allow
            or self.deny
            or self.connections
            or self.per_source
            or self.rate
            or self.source_rate
        )


UNPROTECTED = Protection()

_KEYS = frozenset(one.name for one in fields(Protection))


def to_json(protection: Protection) -> dict[str, Any]:
    """What differs from the default."""
    found = {key: getattr(protection, key) for key in _KEYS}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in found.items()
        if value != getattr(UNPROTECTED, key)
    }


def from_json(value: object, where: str) -> Protection:
    """The inverse of `to_json`; `where` it stands is for the message. Raises TableError."""
    given = checked.mapping(value, where, set(), _KEYS)

    def whole(key: str, most: int, default: int = 0) -> int:
        return checked.integer(given.get(key, default), f"{where}.{key}", 0, most)

    def number(key: str, most: float) -> float:
        return checked.number(given.get(key, 0.0), f"{where}.{key}", most)

    protection = Protection(
        allow=_texts(given, "allow", where),
        deny=_texts(given, "deny", where),
        connections=whole("connections", 2**31 - 1),
        per_source=whole("per_source", 2**31 - 1),
        source_prefix_v4=whole("source_prefix_v4", 32, 32),
        source_prefix_v6=whole("source_prefix_v6", 128, 64),
        rate=number("rate", 1e9),
        burst=whole("burst", 10**9),
        source_rate=number("source_rate", 1e9),
        source_burst=whole("source_burst", 10**9),
        half_closed_timeout=number("half_closed_timeout", checked.YEAR),
        lifetime=number("lifetime", checked.YEAR),
    )
    try:
        prefixes(protection.allow, protection.deny)
    except ValueError as error:
        raise TableError(f"{where}: {error}") from None
    return protection


def _texts(given: Mapping[str, object], key: str, where: str) -> tuple[str, ...]:
    items = checked.listing(given.get(key, []), f"{where}.{key}")
    if len(items) > MOST_PREFIXES:
        raise TableError(f"{where}.{key}: {len(items)} prefixes are more than {MOST_PREFIXES}")
    for item in items:
        if not isinstance(item, str):
            raise TableError(f"{where}.{key}: expected a prefix, got {checked.kind(item)}")
    return tuple(str(item) for item in items)
