"""How many files a process may have open, and what they are for. See getrlimit(2)."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

_KEPT = 256
"""For the log, channels, local probes, control's connections and the like."""


RESERVE = 64
"""Of them, what connections never get."""

_reserved = False


def raise_limit() -> int:
    """Raise the limit of open files to the hard limit and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def keep_reserve() -> None:
    """From now on only `reserve` gives out the last descriptors."""
    global _reserved
    _reserved = True
    _lower()


@contextmanager
def reserve() -> Iterator[None]:
    """Open what must not fail for want of a descriptor, however many connections there are."""
    if not _reserved:
        yield
        return
    raise_limit()
    try:
        yield
    finally:
        _lower()


def _lower() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard - RESERVE, hard // 2), hard))


def most_addresses(limit: int, workers: int) -> int:
    """How many addresses a table may have.

    In the supervisor each needs a listener for each relay worker and a copy on its way there; in a
    relay worker its share, see `most_connections`. While one table replaces another, both count.
    """
    return max(0, min((limit - _KEPT) // (4 * workers), limit // 16))


def most_connections(limit: int) -> int:
    """How many connections a relay worker has room for: two descriptors each.

    An eighth of all is for listeners.
    """
    return max(1, (limit - limit // 8 - _KEPT) // 2)
