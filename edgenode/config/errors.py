"""What is wrong with a configuration, said so that it can be mended without reading our code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

KeyPath = tuple[str | int, ...]
"""Where a value stands: ``("groups", 1, "prefixes", 0)``; items are counted from 0."""


def spell(key: KeyPath) -> str:
    """``groups[1].prefixes[0]``, the spelling that errors use."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    key: KeyPath
    what: str
    depends: KeyPath = ()
    """The other part of the configuration that it was judged by, if any."""
    line: int | None = None


class ConfigError(Exception):
    """All problems of a configuration at once; ``str()`` is a line for each of them."""

    def __init__(self, source: Path, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__(source, self.problems)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """``FILE:LINE: KEY: WHAT``, in the file's order."""
        ordered = sorted(self.problems, key=lambda p: (p.line or 0, spell(p.key)))
        return [
            f"{self.source}{f':{p.line}' if p.line else ''}: "
            f"{f'{spell(p.key)}: ' if p.key else ''}{p.what}"
            for p in ordered
        ]


def duplicates(kind: str, keyed: Iterable[tuple[KeyPath, object]]) -> Iterator[Problem]:
    """Values that are not unique, told at the second and every further place."""
    seen: dict[object, KeyPath] = {}
    for key, value in keyed:
        if value in seen:
            yield Problem(key, f'{kind} "{value}" is already defined at {spell(seen[value])}')
        seen.setdefault(value, key)
