"""Whom a service takes: prefixes, live connections, new ones a second. Pure, but for the figures
that the relay workers share.

In this order: the prefix lists, the source's connections, the service's connections, the source's
rate, the service's rate. Limits of connections take the place first and look then, as in
`occupancy`: two relay workers never both take the last place. Rates are charged to those alone who
are admitted. All hold for the node, whatever number of relay workers it has (`sources` says by how
much a rate may be off).

A rate is a leaky bucket (the GCRA of ITU-T I.371): so many a second, and `burst` at once after a
pause.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from math import ceil

from edgenode.steering.occupancy import Occupancy
from edgenode.steering.prefixes import Address, address_of, prefixes
from edgenode.steering.protection import Protection
from edgenode.steering.sources import Sources
from edgenode.steering.table import Table
from edgenode.steering.why import Why

OUTSIDE = -1
"""The source of a connection that has no place."""

_ROUNDING = 1e-3  # of a connection
_IPV4 = 1 << 128  # tells the families apart


class Guard:
    """The door of one service. `column` is where all of its connections are counted."""

    __slots__ = (
        "_by_source",
        "_connections",
        "_interval",
        "_occupancy",
        "_per_source",
        "_prefixes",
        "_rate_salt",
        "_rest_v4",
        "_rest_v6",
        "_salt",
        "_source_interval",
        "_source_tolerance",
        "_sources",
        "_tolerance",
        "column",
        "wanted",
    )

    def __init__(
        self, name: str, wanted: Protection, occupancy: Occupancy, sources: Sources
    ) -> None:
        self.wanted = wanted
        self.column = -1
        self._occupancy = occupancy
        self._sources = sources
        listed = wanted.allow or wanted.deny
        self._prefixes = prefixes(wanted.allow, wanted.deny) if listed else None
        self._connections = wanted.connections
        self._per_source = wanted.per_source
        self._by_source = bool(wanted.per_source or wanted.source_rate)
        self._rest_v4 = 32 - wanted.source_prefix_v4
        self._rest_v6 = 128 - wanted.source_prefix_v6
        self._interval, self._tolerance = _bucket(wanted.rate, wanted.burst)
        self._source_interval, self._source_tolerance = _bucket(
            wanted.source_rate, wanted.source_burst
        )
        self._salt = sources.place(_number(name, self._rest_v4, self._rest_v6))
        # Another limit is a clean sheet: who is let in by it does not wait for the old one's end.
        self._rate_salt = sources.place(_number(name, wanted))

    def admit(self, host: str, now: float) -> int | Why:
        """Give a place to a connection from this address; return its source, or why it has none.

        `leave` gives it back. Raises OSError if it is no address.
        """
        source = 0
        if self._prefixes is not None or self._by_source:
            address = address_of(host)
            if self._prefixes is not None:
                admitted = self._prefixes.decide(address)
                if admitted is False:
                    return Why.DENIED
                if admitted is None and not self._prefixes.otherwise:
                    return Why.NOT_ADMITTED
            if self._by_source:
                source = self._source(address)
        if self._per_source and not self._sources.take(source, self._per_source):
            self._sources.give(source)
            return Why.SOURCE_FULL
        if self._connections:
            self._occupancy.take(self.column)
            if self._occupancy.live(self.column) > self._connections:
                self.leave(source)
                return Why.SERVICE_FULL
        if self._source_interval or self._interval:
            why = self._too_fast(source, now)
            if why is not None:
                self.leave(source)
                return why
        return source

    def adopt(self, host: str) -> int:
        """Count a connection that was admitted by another process; return its source."""
        source = self._source(address_of(host)) if self._by_source else 0
        if self._per_source:
            self._sources.take(source, 0)
        if self._connections:
            self._occupancy.take(self.column)
        return source

    def leave(self, source: int) -> None:
        """A connection of this source is over."""
        if self._per_source:
            self._sources.give(source)
        if self._connections:
            self._occupancy.give(self.column)

    def _source(self, address: Address) -> int:
        """Where its source is counted: of each service in other cells."""
        bits, value = address
        if bits == 32:
            return self._sources.place(_IPV4 + (value >> self._rest_v4)) ^ self._salt
        return self._sources.place(value >> self._rest_v6) ^ self._salt

    def _too_fast(self, source: int, now: float) -> Why | None:
        sources, salt = self._sources, self._rate_salt
        paid = all_paid = now
        if self._source_interval:
            paid = max(now, sources.paid(source ^ salt))
            if paid - now > self._source_tolerance:
                return Why.SOURCE_RATE
        if self._interval:
            all_paid = max(now, sources.paid(salt))
            if all_paid - now > self._tolerance:
                return Why.RATE
            sources.charge(salt, all_paid + self._interval)
        if self._source_interval:
            sources.charge(source ^ salt, paid + self._source_interval)
        return None


class Admission:
    """The doors of all services. One whose protection a new table does not change stays."""

    def __init__(self, occupancy: Occupancy, sources: Sources | None) -> None:
        """`sources` None: made when it is first needed, for this relay alone."""
        self._occupancy = occupancy
        self._sources = sources
        self._guards: dict[str, Guard] = {}

    def apply(self, table: Table) -> None:
        """Use a new table; `number` is to follow before anybody is admitted."""
        before, self._guards = self._guards, {}
        for service in table.services:
            wanted = service.protection
            if not wanted.guarded:
                continue
            guard = before.get(service.name)
            if guard is None or guard.wanted != wanted:
                if self._sources is None:
                    self._sources = Sources.alone()
                guard = Guard(service.name, wanted, self._occupancy, self._sources)
            self._guards[service.name] = guard

    def number(self, column_of: Callable[[str], int]) -> None:
        """Say where the connections of each service are counted that has a limit of them."""
        for name, guard in self._guards.items():
            if guard.wanted.connections and guard.column < 0:
                guard.column = column_of(name)

    def guard(self, service: str) -> Guard | None:
        """None: everybody is admitted, and nothing is counted."""
        return self._guards.get(service)


def _bucket(rate: float, burst: int) -> tuple[float, float]:
    """Seconds from one to the next, and how much sooner one may come; 0, 0: there is no limit."""
    if not rate:
        return 0.0, 0.0
    interval = 1.0 / rate
    return interval, (max(1, burst or ceil(rate)) - 1 + _ROUNDING) * interval


def _number(*parts: object) -> int:
    """A number of 128 bits for these, the same in all processes."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=16).digest(), "big")
