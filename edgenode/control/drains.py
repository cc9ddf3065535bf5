"""How far the groups' drains have come: whether the neighbors know, and whether users are left.

Users are seen by steering's report alone: bytes of its services. A group without a steered service,
or a steering that does not report, gives no evidence, and the drain's deadline decides. Pure: the
time is passed in, monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgenode.config import Config
from edgenode.steering.report import Report

FRESH = 3.0
"""Seconds for which a report, of which one comes each second, is evidence."""


class Drains:
    """Told of reports and proofs; asked whether a group is idle."""

    def __init__(self, config: Config) -> None:
        self._bytes: dict[str, int] = {}
        self._moved_at: dict[str, float] = {}
        """By service: when bytes were last seen to have been served since the report before."""
        self._reported_at: dict[str, float] = {}
        self._proven_at: dict[str, float] = {}
        self.change(config)

    def change(self, config: Config) -> None:
        """Another configuration is in force: what was seen is still true."""
        self._idle = config.bgp.drain_idle
        self._services = {
            group.name: tuple(service.name for service in config.services_of(group.name))
            for group in config.groups
        }

    def report(self, report: Report, now: float) -> None:
        """What steering has served so far."""
        for name, service in report.services.items():
            total = service.bytes_up + service.bytes_down
            if self._bytes.get(name) != total:
                self._bytes[name] = total
                self._moved_at[name] = now
            self._reported_at[name] = now

    def proven(self, group: str, now: float) -> None:
        """All neighbors of a group were seen to have been sent that it drains."""
        self._proven_at.setdefault(group, now)

    def over(self, group: str) -> None:
        """A group does not drain, or does not any more."""
        self._proven_at.pop(group, None)

    def progress(self, group: str, now: float) -> Mapping[str, float | bool | None]:
        """For people: whether it is proven, and for how long no byte has been seen."""
        return {"proven": group in self._proven_at, "idle_s": self._idle_for(group, now)}

    def idle(self, group: str, now: float) -> bool:
        """Whether no user has been served for `drain_idle` since the neighbors know."""
        idle = self._idle_for(group, now)
        return idle is not None and idle >= self._idle

    def _idle_for(self, group: str, now: float) -> float | None:
        services = self._services[group]
        if group not in self._proven_at or not services:
            return None
        if any(now - self._reported_at.get(name, now - 2 * FRESH) > FRESH for name in services):
            return None
        last = max(self._moved_at[name] for name in services)
        return now - max(last, self._proven_at[group])
