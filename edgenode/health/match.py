"""What a text must have: a part, or a pattern. Pure; linear time on whatever text."""

from __future__ import annotations

from edgenode.config import Match
from edgenode.config.patterns import compiled


class Matcher:
    """`str()` says what is looked for, for reasons."""

    def __init__(self, match: Match) -> None:
        self._part = match.contains.encode() if match.contains is not None else None
        self._pattern = compiled(match.regex) if match.regex is not None else None
        self._text = "be there" if match.contains is None else f'contain "{match.contains}"'
        if match.regex is not None:
            self._text = f'match "{match.regex}"'

    def __str__(self) -> str:
        return self._text

    def settled(self, text: bytes | bytearray, seen: int) -> bool:
        """Whether it is there, whatever follows; the first `seen` bytes were looked at before.

        A part is. A pattern may not match any more once its line goes on: "^ok$", and "okay".
        """
        if self._part is None:
            return False
        return text.find(self._part, max(0, seen - len(self._part) + 1)) >= 0

    def __call__(self, text: bytes) -> bool:
        """Whether it is there."""
        if self._pattern is not None:
            return self._pattern.search(text) is not None
        return self._part is None or self._part in text
