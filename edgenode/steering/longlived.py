"""Which connections are to have a line in the access log although they have not ended. Pure."""

from __future__ import annotations

from collections.abc import Collection

MOST = 500
"""Lines at a time: about 3 ms, in which nobody is served. Where more are due, they come later."""


class LongLived:
    """Each connection comes up about once in `every` seconds; 0: never.

    All are gone through in passes, evenly spread over that time, so that a hundred thousand of
    them are no burst. Times are of the monotonic clock.
    """

    def __init__(self, every: float = 0.0) -> None:
        self.every = every
        self._numbers: list[int] = []
        self._done = 0
        self._began = float("-inf")

    def due(self, numbers: Collection[int], now: float) -> list[int]:
        """Those that come up now, some of which may have ended; to be called about once a second.

        `numbers`: all connections that there are.
        """
        every, before = self.every, self._done
        if every <= 0.0:
            return []
        passed = min(1.0, (now - self._began) / every)
        self._done = min(int(len(self._numbers) * passed), before + MOST)
        found = self._numbers[before : self._done]
        if passed >= 1.0 and self._done == len(self._numbers):
            self._numbers, self._done, self._began = list(numbers), 0, now
        return found
