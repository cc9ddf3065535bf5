"""Names that refer to another section of the configuration. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from edgenode.config.errors import KeyPath, Problem


def undefined(
    kind: str, known: list[str], names: tuple[str, ...], key: KeyPath
) -> Iterator[Problem]:
    """Names in the list at `key` that nothing defines, or that stand there twice."""
    for position, name in enumerate(names):
        if name not in known:
            what = no_such(kind, name, known)
            yield Problem((*key, position), what, depends=(f"{kind}s",))
        elif name in names[:position]:
            yield Problem((*key, position), f'{kind} "{name}" stands here twice')


def no_such(kind: str, name: str, known: list[str]) -> str:
    """The sentence for a name that nothing defines."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    if near:
        return f'nothing defines {kind} "{name}"; did you mean "{near[0]}"?'
    return f'nothing defines {kind} "{name}"; defined: {", ".join(known) or "none"}'
