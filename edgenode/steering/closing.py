"""Descriptors that are to be closed at the end of a round, when no event can name them any more."""

from __future__ import annotations

from edgenode.steering import sysio


class Closing:
    def __init__(self) -> None:
        self._waiting: list[tuple[int, bool]] = []

    def add(self, fd: int, reset: bool) -> None:
        """Close it in order, or with RST."""
        self._waiting.append((fd, reset))

    def close_all(self) -> None:
        for fd, reset in self._waiting:
            try:
                (sysio.reset if reset else sysio.close)(fd)
            except OSError:  # the peer has reset it before us; it is closed all the same
                continue
        self._waiting.clear()
