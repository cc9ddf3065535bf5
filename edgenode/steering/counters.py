"""Counters of one relay worker: totals since it started, and what is live now."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgenode.steering.dial import TargetKey
from edgenode.steering.histogram import Histogram
from edgenode.steering.outliers import Failure
from edgenode.steering.report import surplus
from edgenode.steering.shortage import Shortage
from edgenode.steering.table import Table
from edgenode.steering.why import Why

NO_BOUND = 1 << 30


class Meter:
    """Bytes in one direction."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class RegionCount:
    """`failures` are attempts, not connections; `reasons` says how they failed.

    `connect`: seconds from the first attempt, whoever it was with, until this region answered.
    """

    __slots__ = ("connect", "connections", "down", "failures", "live", "reasons", "up")

    def __init__(self) -> None:
        self.connections = 0
        self.failures = 0
        self.live = 0
        self.up = Meter()
        self.down = Meter()
        self.reasons: dict[Failure, int] = {}
        self.connect = Histogram()

    def failed(self, failure: Failure) -> None:
        self.reasons[failure] = self.reasons.get(failure, 0) + 1

    def figures(self) -> dict[str, Any]:
        return {
            "bytes_up": self.up.bytes,
            "bytes_down": self.down.bytes,
            "reasons": dict(self.reasons),
            "connect": self.connect.to_json(),
        }


@dataclass(slots=True)
class DialingCount:
    """`hedged` attempts were raced by another, of which `hedge_won`; `budget_exhausted` were not

    raced, since the service's budget was spent. `warm_used` connections had been kept ready,
    `warm_discarded` had ended, or the worker had spoken, before they were anybody's.
    """

    hedged: int = 0
    hedge_won: int = 0
    budget_exhausted: int = 0
    warm_used: int = 0
    warm_discarded: int = 0


class ServiceCount:
    """`failed` connections reached no worker, those of `full` since none had room;

    `local_probes` closed without a byte. `endings`: why connections have ended.

    `up` and `down` are the bytes that no region counts. `rtt`, `segments` and `retransmits` are
    what the kernel says of users' ways, as far as it was asked, see `Ending`.
    """

    __slots__ = (
        "accepted",
        "dialing",
        "down",
        "endings",
        "failed",
        "full",
        "live",
        "local_probes",
        "regions",
        "retransmits",
        "rtt",
        "segments",
        "up",
    )

    def __init__(self) -> None:
        self.live = 0
        self.accepted = 0
        self.failed = 0
        self.local_probes = 0
        self.full = 0
        self.dialing = DialingCount()
        self.up = Meter()
        self.down = Meter()
        self.regions: dict[str, RegionCount] = {}
        self.endings: dict[Why, int] = {}
        self.rtt = Histogram()
        self.segments = 0
        self.retransmits = 0

    def ended(self, why: Why) -> None:
        self.endings[why] = self.endings.get(why, 0) + 1

    def asked(self, rtt: int, segments: int, again: int) -> None:
        """What the kernel says of a user's way; the round trip in microseconds, 0: not known."""
        if rtt:
            self.rtt.add(rtt / 1e6)
        self.segments += segments
        self.retransmits += again

    def region(self, name: str) -> RegionCount:
        known = self.regions.get(name)
        if known is None:
            known = self.regions[name] = RegionCount()
        return known

    def forget(self, name: str) -> None:
        """Drop a region; its bytes still are the service's."""
        gone = self.regions.pop(name)
        self.up.bytes += gone.up.bytes
        self.down.bytes += gone.down.bytes

    def figures(self) -> dict[str, Any]:
        return {
            "endings": dict(self.endings),
            "dialing": asdict(self.dialing),
            "rtt": self.rtt.to_json(),
            "segments": self.segments,
            "retransmits": self.retransmits,
            "regions": {name: region.figures() for name, region in self.regions.items()},
        }


class Counters:
    """All counters; names that left the table stay while they have connections, see `forget`."""

    def __init__(self) -> None:
        self.services: dict[str, ServiceCount] = {}
        self.connect_failures: dict[TargetKey, int] = {}
        self.fresh_failures: set[TargetKey] = set()
        """Those that have failed since somebody took note and cleared it."""
        self.target_live: dict[TargetKey, int] = {}
        self.accept_errors = 0
        self.shortages: dict[Shortage, int] = {}
        self._turn: list[str] = []  # services of which there were no figures lately

    def lacked(self, shortage: Shortage) -> None:
        """Count once more that this node itself had not enough."""
        self.shortages[shortage] = self.shortages.get(shortage, 0) + 1

    def service(self, name: str) -> ServiceCount:
        known = self.services.get(name)
        if known is None:
            known = self.services[name] = ServiceCount()
        return known

    def forget(self, table: Table) -> None:
        """Drop the totals of services that are not in the table, and have no connection left.

        Likewise regions and targets, but only once there are many: one that is not healthy leaves
        the table too, and its totals should go on when it is back.
        """
        names = {service.name for service in table.services}
        for name, service in list(self.services.items()):
            if name not in names and service.live == 0:
                del self.services[name]
        for service in self.services.values():
            for name in surplus(service.regions, lambda: {region for region, _ in table.targets}):
                if service.regions[name].live == 0:
                    service.forget(name)
        known = self.connect_failures.keys() | self.target_live.keys()
        for key in surplus(known, lambda: table.targets):
            if self.target_live.get(key, 0) == 0:
                self.target_live.pop(key, None)
                self.connect_failures.pop(key, None)

    def attempt_failed(self, service: ServiceCount, key: TargetKey, failure: Failure) -> None:
        region = service.region(key[0])
        region.failures += 1
        region.failed(failure)
        self.connect_failures[key] = self.connect_failures.get(key, 0) + 1
        self.fresh_failures.add(key)

    def connected(self, service: ServiceCount, key: TargetKey, took: float) -> RegionCount:
        """Return what counts the region's bytes."""
        region = service.region(key[0])
        region.connections += 1
        region.live += 1
        region.connect.add(took)
        self.target_live[key] = self.target_live.get(key, 0) + 1
        return region

    def adopted(self, service: ServiceCount, key: TargetKey) -> RegionCount:
        """One that was connected by another relay worker, which has counted it, is live here."""
        region = service.region(key[0])
        region.live += 1
        self.target_live[key] = self.target_live.get(key, 0) + 1
        return region

    def closed(self, service: ServiceCount, key: TargetKey) -> None:
        region = service.region(key[0])
        region.live -= 1
        self.target_live[key] -= 1

    def to_json(self, most: int = NO_BOUND) -> dict[str, Any]:
        """Return all but `accept_errors`, as they stand in a report.

        `most`: of how many services and regions there are figures, those of the next services in
        turn. All of hundreds take milliseconds, in which no user is served.
        """
        return {
            "shortages": dict(self.shortages),
            "full": {name: one.full for name, one in self.services.items()},
            "figures": self._figures(most),
            "services": {
                name: {
                    "live": one.live,
                    "accepted": one.accepted,
                    "failed": one.failed,
                    "local_probes": one.local_probes,
                    "bytes_up": one.up.bytes + sum(r.up.bytes for r in one.regions.values()),
                    "bytes_down": one.down.bytes + sum(r.down.bytes for r in one.regions.values()),
                    "regions": {
                        region: {
                            "connections": count.connections,
                            "failures": count.failures,
                            "live": count.live,
                        }
                        for region, count in one.regions.items()
                    },
                }
                for name, one in self.services.items()
            },
            "targets": {
                f"{key[0]}/{key[1]}": {
                    "connect_failures": self.connect_failures.get(key, 0),
                    "live": self.target_live.get(key, 0),
                }
                for key in sorted(self.connect_failures.keys() | self.target_live.keys())
            },
        }

    def _figures(self, most: int) -> dict[str, Any]:
        """At least one service's, if there is one."""
        if most == NO_BOUND or not self._turn:
            self._turn = list(self.services)
        found: dict[str, Any] = {}
        left = most
        while self._turn:
            one = self.services.get(self._turn[-1])
            if one is not None:
                left -= 1 + len(one.regions)
                if left < 0 and found:
                    break
                found[self._turn[-1]] = one.figures()
            self._turn.pop()
        return found
