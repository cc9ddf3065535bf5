"""BGP communities as values: standard (RFC 1997) and large (RFC 8092)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

_RIGHT = 'write "64700:80", each number at most 65535, or "64700:1:2", each at most 4294967295'


@dataclass(frozen=True)
class Community:
    """Two numbers of 16 bits or three of 32; ``str()`` gives the text of the configuration back."""

    parts: tuple[int, ...]

    def __str__(self) -> str:
        return ":".join(map(str, self.parts))

    @property
    def large(self) -> bool:
        return len(self.parts) == 3

    @classmethod
    def parse(cls, value: Any) -> Community:
        """Raises ValueError with a sentence that says what would be right."""
        if isinstance(value, Community):
            return value
        text = value if isinstance(value, str) else ""
        if not re.fullmatch(r"[0-9]{1,10}(:[0-9]{1,10}){1,2}", text):
            raise ValueError(_RIGHT)
        parts = tuple(map(int, text.split(":")))
        if max(parts) > (0xFFFF if len(parts) == 2 else 0xFFFFFFFF):
            raise ValueError(_RIGHT)
        return cls(parts)


GRACEFUL_SHUTDOWN = Community((65535, 0))
"""RFC 8326."""
BLACKHOLE = Community((65535, 666))
"""RFC 7999."""

CommunityField = Annotated[
    Community, PlainValidator(Community.parse), PlainSerializer(str, return_type=str)
]
