"""The largest packet that passes: which sizes to try next. Pure; sizes in bytes of an IP packet.

As packetization-layer path MTU discovery (RFC 8899), which trusts no ICMP: a size is proven by its
answer, and no answer to it while smaller ones are answered says that it vanishes. Several sizes
are tried at once, so a search takes two or three time-outs and not ten.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

PADDING = 16
"""WireGuard pads to this: the sizes between two multiples are one size in the underlay."""
AT_ONCE = 8


@dataclass(frozen=True)
class Search:
    """`passes` < the sought size < `fails`, but for what the network loses by chance."""

    passes: int | None
    """The largest that was answered; None: none so far."""
    fails: int
    """The smallest above `passes` that was not; at first, one more than the largest of interest."""
    least: int
    """No smaller one is of use."""
    largest: int

    @staticmethod
    def begin(least: int, largest: int) -> Search:
        """Among all sizes from `least` to `largest`."""
        return Search(None, largest + 1, least, largest)

    @property
    def over(self) -> bool:
        """Whether `passes` is the answer: None when not even the least passes."""
        return not self._open()

    def sizes(self) -> tuple[int, ...]:
        """What to try now, ascending; empty when the search is over. Ends are tried at first."""
        left = self._open()
        if len(left) <= AT_ONCE:
            return tuple(left)
        step = (len(left) - 1) / (AT_ONCE - 1)
        return tuple(left[round(index * step)] for index in range(AT_ONCE))

    def after(self, answered: Collection[int]) -> Search:
        """What is known when of `sizes()` these were answered.

        One that was not, though a larger one was, was lost by chance.
        """
        tried = self.sizes()
        passes = max((size for size in answered if size in tried), default=self.passes)
        lost = [size for size in tried if passes is None or size > passes]
        return Search(passes, min(lost, default=self.fails), self.least, self.largest)

    def _open(self) -> list[int]:
        """The sizes of which nothing is known, ascending."""
        above = self.least - 1 if self.passes is None else self.passes
        first = above - above % PADDING + PADDING
        grid = {*range(first, self.largest + 1, PADDING), self.least, self.largest}
        return sorted(size for size in grid if above < size < self.fails)
