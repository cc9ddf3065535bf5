"""What etcd's answers mean: records, events, a watch that was cancelled. Pure.

Whatever answers at the endpoint may be no etcd, or a damaged one: a field of another type is
AnswerError, and never a guess.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgenode.registry.records import MAX_VALUE
from edgenode.registry.snapshot import Change, Entry


class AnswerError(ValueError):
    """It is not of the form of an answer of etcd."""


class Compacted(Exception):
    """The events that were asked for are there no more: what there is now has to be read."""


@dataclass(frozen=True)
class Header:
    """Of every answer."""

    cluster: str
    revision: int


@dataclass(frozen=True)
class Page:
    """Of a range."""

    header: Header
    entries: tuple[Entry, ...]
    last: bytes
    """The key of the last entry, as it is: in an entry only what is UTF-8 is."""
    more: bool
    count: int


@dataclass(frozen=True)
class Told:
    """By a watch; no changes: it was created, or is still there."""

    header: Header
    changes: tuple[Change, ...]


def header(answer: Mapping[str, Any]) -> Header:
    """Raises AnswerError."""
    found = _table(answer, "header")
    return Header(str(found.get("cluster_id", "")), number(found, "revision"))


def page(answer: Mapping[str, Any]) -> Page:
    """Raises AnswerError."""
    records = _list(answer, "kvs")
    entries = tuple(map(entry, records))
    last = _bytes(records[-1], "key") if records else b""
    return Page(header(answer), entries, last, answer.get("more") is True, number(answer, "count"))


def told(result: Mapping[str, Any]) -> Told:
    """Raises AnswerError, Compacted; a watch that ended is AnswerError with the reason."""
    if number(result, "compact_revision"):
        raise Compacted
    if result.get("canceled") is True:
        raise AnswerError(
            f"the watch was ended: {result.get('cancel_reason') or 'no reason given'}"
        )
    return Told(header(result), tuple(map(_change, _list(result, "events"))))


def entry(kv: Any) -> Entry:
    """Raises AnswerError."""
    if not isinstance(kv, dict):
        raise AnswerError("a record is no table")
    return Entry(
        _key(kv),
        # Of a longer one nothing is used but that it is too long.
        _bytes(kv, "value")[: MAX_VALUE + 1],
        number(kv, "create_revision"),
        number(kv, "mod_revision"),
        number(kv, "lease"),
    )


def number(table: Mapping[str, Any], name: str) -> int:
    """A number of 63 bits, which comes as text; absent: 0. Raises AnswerError."""
    value = table.get(name, 0)
    if isinstance(value, str) and value.isdecimal() and len(value) <= 20:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise AnswerError(f"{name} is no number")


def _change(event: Any) -> Change:
    if not isinstance(event, dict):
        raise AnswerError("an event is no table")
    kv = _table(event, "kv")
    gone = event.get("type", "PUT") == "DELETE"
    return Change(_key(kv), number(kv, "mod_revision"), None if gone else entry(kv))


def _key(kv: Mapping[str, Any]) -> str:
    return _bytes(kv, "key").decode("utf-8", "backslashreplace")


def _bytes(table: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(table.get(name, ""), validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise AnswerError(f"{name} is no base64") from None


def _table(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = answer.get(name)
    if not isinstance(found, dict):
        raise AnswerError(f"{name} is missing")
    return found


def _list(answer: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = answer.get(name, [])
    if not isinstance(found, list):
        raise AnswerError(f"{name} is no list")
    return found
