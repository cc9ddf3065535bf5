"""Regular expressions of the configuration: RE2's, which take linear time on whatever text.

Python's own `re` backtracks, for minutes on a bad day, and keeps the interpreter locked meanwhile:
no timeout would help.
"""

from __future__ import annotations

from typing import Annotated, Protocol

import re2
from pydantic import AfterValidator, Field

MEMORY = 1 << 20
"""Bytes that a compiled pattern may use, its cache included."""


class Compiled(Protocol):
    """What searches bytes."""

    def search(self, text: bytes, /) -> object | None:
        """Something where it is found."""


def compiled(pattern: str) -> Compiled:
    """For bytes, of which no encoding is known; "^" and "$" are the ends of a line.

    Raises ValueError with a sentence.
    """
    options = re2.Options()
    options.max_mem = MEMORY
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        searches: Compiled = re2.compile(f"(?m){pattern}".encode(), options)
    except re2.error as error:
        why = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"RE2 does not take it: {why}") from None
    return searches


def _checked(pattern: str) -> str:
    compiled(pattern)
    return pattern


Pattern = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_checked)]
