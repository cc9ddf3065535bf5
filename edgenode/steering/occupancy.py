"""How many connections this node has at each worker and in each region, over all relay workers.

The figures are in memory that the relay workers share: a row for each of them, which it alone
writes, and a column for each worker and each region, by number. So nobody waits for anybody, a
limit holds for the node, and what a relay worker that died had open is cleared with its row.

A connection takes its place first and then looks whether there were too many: two relay workers
that take the last place at the same time both see it. They may then both step back; they never
both stay.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Mapping

from edgenode.steering import sources
from edgenode.steering.table import RegionTargets, Table, TableError

COLUMNS = 1 << 18
"""Most workers and regions that can be counted. Pages that nobody touches cost no memory."""

NOWHERE = COLUMNS - 1
"""The column of what nobody counts: workers that no table names any more."""

_SIZE = 4  # bytes of a figure

Counted = tuple[str, str | None]
"""A region and a worker, a region (None), or no region ("") and a service with a limit."""


class Occupancy:
    """The figures, as one relay worker (`row`) sees them; the supervisor's own view has no row."""

    def __init__(self, memory: mmap.mmap, row: int | None) -> None:
        self._memory = memory
        self._all = memoryview(memory).cast("i")
        self._size = len(self._all)
        self._stride = COLUMNS
        self._own = -1 if row is None else row * COLUMNS

    @classmethod
    def alone(cls) -> Occupancy:
        """Figures that nobody shares."""
        return cls(mmap.mmap(-1, COLUMNS * _SIZE), 0)

    @classmethod
    def shared(cls, fd: int, row: int | None) -> Occupancy:
        """The figures in a file of `shared_file`. Raises OSError."""
        return cls(mmap.mmap(fd, 0), row)

    def live(self, column: int) -> int:
        """Connections in all rows, those that are being dialed included."""
        count = 0
        while column < self._size:
            count += self._all[column]
            column += self._stride
        return count

    def take(self, column: int) -> None:
        """Count one more, in the own row."""
        assert self._own >= 0
        self._all[self._own + column] += 1

    def give(self, column: int) -> None:
        """Count one less."""
        assert self._own >= 0
        self._all[self._own + column] -= 1

    def clear(self, row: int, columns: int) -> None:
        """Forget what a relay worker had that is gone; `columns` are in use."""
        at, size = row * COLUMNS * _SIZE, columns * _SIZE
        self._memory[at : at + size] = bytes(size)


def shared_file(rows: int) -> int:
    """A file without a name for the figures of so many relay workers. Raises OSError."""
    fd = os.memfd_create("edgenode-occupancy", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, rows * COLUMNS * _SIZE)
    except OSError:
        os.close(fd)
        raise
    return fd


class Numbers:
    """Which column is whose, as the supervisor gives them out. Pure.

    A column goes to another only once nobody can count in it any more: its owner has left the
    table, all relay workers obey a table without it, and none has a connection there.
    """

    def __init__(self) -> None:
        self.used = 0
        """Columns that have ever had an owner."""
        self.given: dict[Counted, int] = {}
        self._named: set[Counted] = set()  # by the last table
        self._cached: dict[int, tuple[RegionTargets, frozenset[Counted]]] = {}
        self._gone: dict[Counted, int] = {}  # in which table they were missed first
        self._free: list[int] = []

    def assign(self, table: Table, number: int) -> dict[Counted, int]:
        """Give all that the table names a column; return those that the last one did not name.

        `number` counts the tables, see `release`. Raises TableError if there are too many.
        """
        known = self.given
        names = self._names(table)
        new = names - known.keys()
        most = NOWHERE - self.used + len(self._free)
        if len(new) > most:
            raise TableError(f"{len(names)} workers and regions are too many (of {NOWHERE} places)")
        for name in new:
            if self._free:
                known[name] = self._free.pop()
            else:
                known[name] = self.used
                self.used += 1
        self._gone = {name: self._gone.get(name, number) for name in known.keys() - names}
        fresh = {name: known[name] for name in names - self._named}
        self._named = names
        return fresh

    def _names(self, table: Table) -> set[Counted]:
        """All that the table names. Regions that did not change are the same objects as before."""
        cached, self._cached = self._cached, {}
        limited: set[Counted] = {
            ("", service.name) for service in table.services if service.protection.connections
        }
        for service in table.services:
            for one in service.regions:
                known = cached.get(id(one))
                self._cached[id(one)] = known or (one, _names_of(one))
        return limited.union(*(names for _, names in self._cached.values()))

    def release(self, applied: int, live: Callable[[int], int]) -> None:
        """Take back columns; all relay workers obey table `applied` or a later one."""
        for name, number in list(self._gone.items()):
            if number <= applied and live(self.given[name]) == 0:
                del self._gone[name]
                self._free.append(self.given.pop(name))


def _names_of(region: RegionTargets) -> frozenset[Counted]:
    workers = (target.worker for target in region.workers)
    return frozenset((region.region, worker) for worker in (None, *workers))


class Register:
    """The supervisor's end: it gives out the columns, and clears the rows of those that are gone.

    `fresh` are the columns that the last table added, see `Numbers.assign`. Raises OSError.
    """

    def __init__(self, rows: int, connections: int = 0) -> None:
        self.fd = shared_file(rows)
        self.sources = sources.shared_file(rows, connections)
        """Where the users' sources are counted, by relay workers with this many connections."""
        self._sources = mmap.mmap(self.sources, 0)  # made now: `clear` must not want for anything
        self.fresh: dict[Counted, int] = {}
        self._numbers = Numbers()
        self._occupancy = Occupancy.shared(self.fd, None)

    @property
    def columns(self) -> dict[Counted, int]:
        """All that are given out."""
        return self._numbers.given

    def assign(self, table: Table, number: int, applied: int) -> None:
        """Take back and give out columns; all relay workers obey table `applied` or a later one.

        Raises TableError.
        """
        self._numbers.release(applied, self._occupancy.live)
        self.fresh = self._numbers.assign(table, number)

    def clear(self, row: int) -> None:
        """The relay worker of this row is gone."""
        self._occupancy.clear(row, self._numbers.used)
        sources.clear(self._sources, row)


def columns_to_json(columns: Mapping[Counted, int]) -> list[list[str | int | None]]:
    return [[region, worker, column] for (region, worker), column in columns.items()]


def columns_from_json(value: list[tuple[str, str | None, int]]) -> dict[Counted, int]:
    """The inverse of `columns_to_json`."""
    return {(region, worker): column for region, worker, column in value}
