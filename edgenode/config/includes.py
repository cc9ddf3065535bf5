"""Files with BIRD configuration of the operator's own: read, and looked through for our names.

BIRD itself judges the rest (`bgp.offline`, `configure check`): it refuses a second definition of
a name, so an include cannot redefine our filters, protocols or prefix sets. What it would not
refuse is a protocol that is merely *called* like ours, which our filters tell by their names: that
is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from edgenode import regularfile
from edgenode.config.errors import KeyPath, Problem
from edgenode.config.schema import Config

MAX_SIZE = 1 << 20
"""Bytes."""

# As BIRD's lexer has them (conf/cf-lex.l); a string does not go over the end of its line.
_ASIDE = re.compile(r'(?P<string>"[^"\n]*")|#[^\n]*|/\*.*?\*/|(?P<open>/\*|")', re.DOTALL)
_LEVELS = "normal|degraded|drained"
_OURS = re.compile(rf"\bedgenode_\w*|_v[46]_(?:{_LEVELS})\b")
_INCLUDE = re.compile(r"\binclude\b")


class IncludeError(Exception):
    """An included file cannot be used; the text is a sentence that names it."""


def read(path: Path) -> str:
    """Its text, looked through. Raises IncludeError."""
    try:
        text = regularfile.read(path, MAX_SIZE).decode()
    except OSError as error:
        raise IncludeError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise IncludeError(f"{path} is no UTF-8 text") from None
    if trouble := complain(text):
        raise IncludeError(f"{path}:{trouble}")
    return text


def complain(text: str) -> str | None:
    """``LINE: what is wrong`` with BIRD configuration that is to be included, or None. Pure."""
    if "\0" in text:
        return f"{_line(text, text.index(chr(0)))}: has a NUL in it"
    for match in _ASIDE.finditer(text):
        if match["open"]:
            what = "comment" if match["open"] == "/*" else "string"
            return f"{_line(text, match.start())}: a {what} that does not end"
    # Blanks of the same length, so that places stay what they are
    plain = _ASIDE.sub(lambda aside: re.sub(r"[^\n]", " ", aside[0]), text)
    if ours := _OURS.search(plain):
        return (
            f'{_line(text, ours.start())}: names with "{ours[0]}" in them are those of edgenode: '
            "call it something else"
        )
    if other := _INCLUDE.search(plain):
        line = _line(text, other.start())
        return f"{line}: includes another file: write that one into bgp.include too"
    return None


def check(config: Config) -> Iterator[Problem]:
    """Problems with the files that the configuration includes."""
    for i, path in enumerate(config.bgp.include):
        key: KeyPath = ("bgp", "include", i)
        try:
            read(path)
        except IncludeError as error:
            yield Problem(key, str(error))


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
