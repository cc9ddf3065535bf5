"""What things of ours are called in BIRD.

Names of the configuration have no underscore, so ``-`` → ``_`` cannot make two of them one; and
the endings keep groups, sessions and constants apart from each other and from BIRD's keywords.
"""

from __future__ import annotations

import re
from functools import lru_cache

from edgenode.bgp.levels import STANDING, Level

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_STATIC = re.compile(r"([a-z][a-z0-9_]*)_v[46]_(?:" + "|".join(STANDING) + ")")


def symbol(name: str) -> str:
    """A name of the configuration as a BIRD symbol. Raises ValueError for anything else."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name: a-z, 0-9 and '-', a letter first")
    return name.replace("-", "_")


@lru_cache(maxsize=1 << 16)  # asked for each protocol of each group, again and again
def static_name(group: str, version: int, level: Level) -> str:
    """The static protocol of a group (IP version 4 or 6) at a level."""
    return f"{symbol(group)}_v{version}_{level.value}"


@lru_cache(maxsize=1 << 16)  # asked for in a withdraw's way
def static_pattern(group: str, level: Level) -> str:
    """A pattern of BIRD's commands for a group's protocols of both families at a level.

    ``?`` is one character: it cannot match the protocols of a group with a longer name.
    """
    return f'"{symbol(group)}_v?_{level.value}"'


SESSIONS = '"*_bgp"'
"""A pattern of BIRD's commands for the protocols of all neighbors."""


def session_name(neighbor: str) -> str:
    """The BGP protocol of a neighbor."""
    return f"{symbol(neighbor)}_bgp"


def export_name(neighbor: str) -> str:
    """The filter of what a neighbor gets."""
    return f"{symbol(neighbor)}_export"


def import_name(neighbor: str) -> str:
    """The filter of what is taken from a neighbor."""
    return f"{symbol(neighbor)}_import"


def prefixes_name(version: int) -> str:
    """The constant with the prefixes that may be announced in a family."""
    return f"edgenode_v{version}_prefixes"


def kernel_name(version: int) -> str:
    """The protocol that brings a default route into the kernel's table."""
    return f"edgenode_v{version}_kernel"


def password_name(neighbor: str) -> str:
    """The constant that holds a neighbor's password."""
    return f"{symbol(neighbor)}_password"


def group_of(protocol: str) -> str | None:
    """The group of a protocol that is called like one of ours that announces, of whatever
    configuration; None for any other.
    """
    match = _STATIC.fullmatch(protocol)
    return match[1].replace("_", "-") if match else None
