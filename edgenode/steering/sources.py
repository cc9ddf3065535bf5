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
_LEAST, _MOST = 1 << 10, 1 << 22
_COUNT, _TIME = 4, 8  # bytes of a figure
_HEADER = mmap.PAGESIZE
_KEY = 32  # bytes of each of the hash's two secrets
_ROWS = 4  # bytes of their number
_BITS = 8 * _KEY
_MASK = (1 << _BITS) - 1


class Sources:
    """The figures, as one relay worker (`row`) sees them."""

    def __init__(self, memory: mmap.mmap, row: int) -> None:
        rows, width = _layout(memory)
        self._width = width
        self._stride = stride = width * _DEPTH
        whole = memoryview(memory)
        times = _HEADER + rows * stride * _COUNT
        self._factor = int.from_bytes(whole[:_KEY], "big")
        self._summand = int.from_bytes(whole[_KEY : 2 * _KEY], "big")
        self._all = whole[_HEADER:times].cast("i")
        self._own = self._all[row * stride : (row + 1) * stride]
        self._times = whole[times : times + stride * _TIME].cast("d")
        self._bits = width.bit_length() - 1
        self._several = rows > 1

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

    def cells(self, source: int) -> tuple[int, int, int]:
        """Where it is counted. The hash is strongly universal (Dietzfelbinger 1996)."""
        mixed = (source * self._factor + self._summand) & _MASK
        bits, width = self._bits, self._width
        low = width - 1
        return (
            mixed >> (_BITS - bits),
            width + ((mixed >> (_BITS - 2 * bits)) & low),
            2 * width + ((mixed >> (_BITS - 3 * bits)) & low),
        )

    def take(self, source: int) -> int:
        """Count one more connection; return how many there are with it."""
        own = self._own
        one, two, three = self.cells(source)
        own[one] += 1
        own[two] += 1
        own[three] += 1
        if not self._several:
            return min(own[one], own[two], own[three])
        figures, stride = self._all, self._stride
        return min(
            sum(figures[one::stride]), sum(figures[two::stride]), sum(figures[three::stride])
        )

    def give(self, source: int) -> None:
        """Count one less."""
        own = self._own
        for cell in self.cells(source):
            own[cell] -= 1

    def paid(self, source: int) -> float:
        """When it will have paid for all it has had, in seconds of the monotonic clock."""
        times = self._times
        one, two, three = self.cells(source)
        return min(times[one], times[two], times[three])

    def charge(self, source: int, paid: float) -> None:
        """It will have paid then, and not sooner."""
        times = self._times
        for cell in self.cells(source):
            if times[cell] < paid:
                times[cell] = paid


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


def clear(fd: int, row: int) -> None:
    """Forget the connections of a relay worker that is gone. Raises OSError."""
    with mmap.mmap(fd, 0) as memory:
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
