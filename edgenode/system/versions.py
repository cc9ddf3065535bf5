"""Which of two versions is newer: as systemd-sysupdate and systemd-boot see it. Pure.

Both order by the UAPI Group's version format specification: `~` comes before everything (1.0~rc1 is
older than 1.0), then `-`, `^` and `.` separate, numbers count as numbers.
"""

from __future__ import annotations

import re
from functools import total_ordering

VALID = re.compile(r"[0-9]+(\.[0-9]+)*([~.-][a-z0-9.]+)?")
"""What an image is built with. No `+`: in a boot entry's name the tries follow it."""

_SEPARATORS = "~-^."


@total_ordering
class Version:
    """One, to be compared with another."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and compare(self.text, other.text) == 0

    def __lt__(self, other: Version) -> bool:
        return compare(self.text, other.text) < 0

    def __hash__(self) -> int:
        return hash(re.sub(r"(?<![0-9])0+(?=[0-9])", "", self.text))


def newest(versions: list[str]) -> str:
    """The newest of some."""
    return max(versions, key=Version)


def compare(a: str, b: str) -> int:
    """Below 0, 0, above 0: `a` is older, the same, newer."""
    while True:
        a, b = _strip(a), _strip(b)
        if a[:1] == "~" or b[:1] == "~":
            if a[:1] != b[:1]:
                return -1 if a[:1] == "~" else 1
            a, b = a[1:], b[1:]
            continue
        if not a or not b:
            return bool(a) - bool(b)
        for separator in "-^.":
            if a[0] == separator or b[0] == separator:
                if a[0] != b[0]:
                    return -1 if a[0] == separator else 1
                a, b = a[1:], b[1:]
                break
        else:
            digits = a[0].isdigit() or b[0].isdigit()
            one, a = _part(a, digits)
            other, b = _part(b, digits)
            if digits:
                first, second = int(one or -1), int(other or -1)
                if first != second:
                    return -1 if first < second else 1
            elif one != other:
                return -1 if one < other else 1


def _strip(text: str) -> str:
    """Without what is no part of a version."""
    return re.sub(r"^[^0-9A-Za-z~\-^.]+", "", text)


def _part(text: str, digits: bool) -> tuple[str, str]:
    found = re.match(r"[0-9]*" if digits else r"[A-Za-z]*", text)
    assert found is not None
    return found[0], text[found.end() :]
