"""How many connections each source has, and how fast they come, over all relay workers of a node.

A source is a number (a prefix of a service's users, see `admission`). However many there are, the
memory is the same: two count-min sketches (Cormode and Muthukrishnan 2005). Each source has three
cells, chosen by a hash that nobody outside knows, which others may have too; the smallest counts.
So nobody is ever counted too low, nothing is evicted and nobody over a limit is forgotten. Counted
too high is who shares all three of his cells: with as many connections as the node takes, four
cells for each, one source in 90 by one connection, one in 50,000 by two.

Live connections are counted as in `occupancy`: a row for each relay worker, which it alone writes.

Rates are one figure for all relay workers: when the source will have paid for all it has had (the
"theoretical arrival time" of a leaky bucket, ITU-T I.371). Two that write the same cell at the
same moment may lose one of the connections: a flood gets some per cent more than its rate.
"""

from __future__ import annotations

import mmap
import os

_DEPTH = 3  # cells of a source
_PER_CONNECTION = 4  # cells in each row of them
_LEAST, _MOST = 1 << 10, 1 << 21  # three of 21 bits are a number of 63
_COUNT, _TIME = 4, 8  # bytes of a figure
_HEADER = mmap.PAGESIZE
_KEY = 28  # bytes of each of the hash's two secrets: those of a source and of three cells
_ROWS = 4  # bytes of their number
_BITS = 8 * _KEY
_MASK = (1 << _BITS) - 1


class Sources:
    """The figures, as one relay worker (`row`) sees them.

    A source is asked for by its `place`: its three cells in one number, found once.
    """

    def __init__(self, memory: mmap.mmap, row: int) -> None:
        rows, width = _layout(memory)
        self._width = width
        self._bits = width.bit_length() - 1
        self._mixer = int.from_bytes(memory[:_KEY], "big") | 1
        self._factor = int.from_bytes(memory[_KEY : 2 * _KEY], "big") | 1
        self._shift = _BITS - _DEPTH * self._bits
        whole = memoryview(memory)
        self._stride = stride = width * _DEPTH
        self._size = rows * stride
        times = _HEADER + self._size * _COUNT
        self._all = whole[_HEADER:times].cast("i")
        self._own = row * stride
        self._times = whole[times : times + stride * _TIME].cast("d")

    @classmethod
    def alone(cls, connections: int = _LEAST) -> Sources:
        """Figures that nobody shares."""
        memory = mmap.mmap(-1, _size(1, connections))
        memory[: 2 * _KEY + _ROWS] = _header(1)
        return cls(memory, 0)

    @classmethod
    def shared(cls, fd: int, row: int) -> Sources:
        """The figures in a file of `shared_file`. Raises OSError."""
        return cls(mmap.mmap(fd, 0), row)

    def place(self, source: int) -> int:
        """Where it is counted.

        The second product is a universal hash (multiply-shift, Dietzfelbinger 1997); the first
        keeps neighbors, of which an attacker has many, from being neighbors in it.
        """
        mixed = (source * self._mixer) & _MASK
        mixed ^= mixed >> _BITS // 2
        return ((mixed * self._factor) & _MASK) >> self._shift

    def take(self, place: int, most: int) -> bool:
        """Count one more connection; False if there are more than so many with it."""
        low, all_of = self._width - 1, self._all
        one = place >> 2 * self._bits
        two = self._width + ((place >> self._bits) & low)
        three = 2 * self._width + (place & low)
        all_of[self._own + one] += 1
        all_of[self._own + two] += 1
        all_of[self._own + three] += 1
        return self._live(one) <= most or self._live(two) <= most or self._live(three) <= most

    def give(self, place: int) -> None:
        """Count one less."""
        low, all_of = self._width - 1, self._all
        all_of[self._own + (place >> 2 * self._bits)] -= 1
        all_of[self._own + self._width + ((place >> self._bits) & low)] -= 1
        all_of[self._own + 2 * self._width + (place & low)] -= 1

    def paid(self, place: int) -> float:
        """When it will have paid for all it has had, in seconds of the monotonic clock."""
        low, times = self._width - 1, self._times
        paid = times[place >> 2 * self._bits]
        other = times[self._width + ((place >> self._bits) & low)]
        if other < paid:
            paid = other
        other = times[2 * self._width + (place & low)]
        return other if other < paid else paid

    def charge(self, place: int, paid: float) -> None:
        """It will have paid then, and not sooner."""
        low, times = self._width - 1, self._times
        one = place >> 2 * self._bits
        two = self._width + ((place >> self._bits) & low)
        three = 2 * self._width + (place & low)
        if times[one] < paid:
            times[one] = paid
        if times[two] < paid:
            times[two] = paid
        if times[three] < paid:
            times[three] = paid

    def _live(self, cell: int) -> int:
        count = 0
        while cell < self._size:
            count += self._all[cell]
            cell += self._stride
        return count


def shared_file(rows: int, connections: int) -> int:
    """A file without a name for the figures of so many relay workers, with this many connections
    together. Raises OSError.

    Pages that nobody touches cost no memory.
    """
    fd = os.memfd_create("edgenode-sources", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, _size(rows, connections))
        os.pwrite(fd, _header(rows), 0)
    except OSError:
        os.close(fd)
        raise
    return fd


def clear(memory: mmap.mmap, row: int) -> None:
    """Forget the connections of a relay worker that is gone."""
    _, width = _layout(memory)
    stride = width * _DEPTH * _COUNT
    at = _HEADER + row * stride
    try:
        memory.madvise(mmap.MADV_REMOVE, at, stride)  # gives the pages back, see madvise(2)
    except OSError:
        memory[at : at + stride] = bytes(stride)


def _header(rows: int) -> bytes:
    return os.urandom(2 * _KEY) + rows.to_bytes(_ROWS, "big")


def _layout(memory: mmap.mmap) -> tuple[int, int]:
    """How many rows there are, and how many cells of each kind in one."""
    rows = int.from_bytes(memory[2 * _KEY : 2 * _KEY + _ROWS], "big")
    return rows, (len(memory) - _HEADER) // _DEPTH // (rows * _COUNT + _TIME)


def _size(rows: int, connections: int) -> int:
    width = min(max(_LEAST, 1 << (_PER_CONNECTION * connections - 1).bit_length()), _MOST)
    return _HEADER + _DEPTH * width * (rows * _COUNT + _TIME)
