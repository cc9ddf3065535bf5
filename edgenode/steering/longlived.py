"""Which connections are to have a line in the access log although they have not ended. Pure."""

from __future__ import annotations

from collections.abc import Collection


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
        every = self.every
        if every <= 0.0:
            return []
        if now - self._began >= every:
            missed = self._numbers[self._done :]
            self._numbers, self._done, self._began = list(numbers), 0, now
            return missed
        before = self._done
        self._done = int(len(self._numbers) * (now - self._began) / every)
        return self._numbers[before : self._done]
