"""What the connections of a service were like, and how the relay workers do. Pure.

A part of the report to control, see `report`. The other end may be of another version: what it
does not tell is 0, and what is not known here is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Times:
    """See `histogram`: microseconds of all together, and how many in which bucket."""

    us: int = 0
    buckets: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RegionFigures:
    """One service in one region.

    `connect`: from the first attempt, whoever it was with, until this region answered. `reasons`:
    how attempts failed, see `outliers.Failure`.
    """

    bytes_up: int = 0
    bytes_down: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    connect: Times = Times()


@dataclass(frozen=True, slots=True)
class ServiceFigures:
    """`endings`: why connections have ended, see `why`.

    `rtt`, `segments` and `retransmits` are of the users' side, of those connections of which the
    kernel was asked, see `ending`. `dialing`: attempts beside the first, see
    `counters.DialingCount`.
    """

    endings: Mapping[str, int] = field(default_factory=dict)
    dialing: Mapping[str, int] = field(default_factory=dict)
    rtt: Times = Times()
    segments: int = 0
    retransmits: int = 0
    regions: Mapping[str, RegionFigures] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RelayFigures:
    """One relay worker, in the order of `Report.relays`.

    `cpu_s`: seconds of processor time since it started. `busy`: the share of the last second in
    which it did not wait for events. `lag_ms`: the longest that an event had to wait for its turn
    in that time. `form`: whether it runs compiled or interpreted, see `form`; empty: not told.
    """

    pid: int = 0
    live: int = 0
    cpu_s: float = 0.0
    busy: float = 0.0
    lag_ms: float = 0.0
    form: str = ""


def service_figures(value: Mapping[str, Any]) -> ServiceFigures:
    """The inverse of `asdict`. Raises TypeError or AttributeError where it is malformed."""
    found = _known(ServiceFigures, value)
    regions = {name: _region(one) for name, one in found.pop("regions", {}).items()}
    return ServiceFigures(**{**found, "rtt": _times(found.get("rtt", {})), "regions": regions})


def relay_figures(value: Mapping[str, Any]) -> RelayFigures:
    """The same for a relay worker."""
    return RelayFigures(**_known(RelayFigures, value))


def _region(value: Mapping[str, Any]) -> RegionFigures:
    found = _known(RegionFigures, value)
    return RegionFigures(**{**found, "connect": _times(found.get("connect", {}))})


def _times(value: Mapping[str, Any]) -> Times:
    return Times(**_known(Times, value))


def _known(of: type, value: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(of)}
    return {name: one for name, one in value.items() if name in names}
