"""What steering tells control about once a second.

Counters are totals since the supervisor started: those of replaced relay workers are kept. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar, Union

from edgenode.steering.figures import (
    RelayFigures,
    ServiceFigures,
    relay_figures,
    service_figures,
)
from edgenode.steering.table import Table

MOST_NAMES = 1000
"""Names of targets from which on those that are in no table are forgotten.

Fewer may stay, since a target leaves the table whenever it is not healthy.
"""

FAILURES = "failures"
"""The type of the message that names targets which have just failed, and regions that are silent,
ahead of the next report; it is sent to those that want it."""

MOST_EJECTIONS = 200
"""Of which the reports tell."""

Name = TypeVar("Name")
Tree = Mapping[str, Union[int, "Tree"]]
"""Nested counters; "live" is a present number, all others are totals."""


@dataclass(frozen=True, slots=True)
class RegionReport:
    """One service in one region; `failures` are attempts, not connections."""

    connections: int = 0
    failures: int = 0
    live: int = 0


@dataclass(frozen=True, slots=True)
class ServiceReport:
    """`failed` connections reached no worker; `local_probes` came from the node itself."""

    live: int = 0
    accepted: int = 0
    failed: int = 0
    local_probes: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    regions: Mapping[str, RegionReport] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TargetReport:
    connect_failures: int = 0
    live: int = 0


@dataclass(frozen=True, slots=True)
class RelayReport:
    """One relay worker; `since` is when it became healthy or ceased to be (Unix time)."""

    pid: int
    healthy: bool
    since: float


@dataclass(frozen=True, slots=True)
class EjectionReport:
    """A worker that new connections of a service leave alone, by what relay workers saw of it.

    Without a worker: the region comes last, since its way is silent or all of its workers fail.
    `until` is Unix time, the latest of all; `ejections` how often in a row it was ejected (0: it is
    only set aside for seconds), `relays` how many relay workers leave it alone.
    """

    service: str
    region: str
    worker: str | None
    reason: str
    until: float
    ejections: int
    relays: int = 1


@dataclass(frozen=True, slots=True)
class SetAsideReport:
    """A table at which a relay worker failed, and which nobody obeys; `at` is Unix time."""

    revision: int
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Report:
    """`at` is Unix time; the keys of `targets` are "region/worker".

    `listen_failures`: why an address of the table is not listened on. `accept_errors`: how often
    descriptors or memory ran out. `log_dropped`: lines that the access log has lost. `full`:
    connections of each service that were refused since no worker had room. `ejections`: whom new
    connections leave alone, at most MOST_EJECTIONS. `figures` of services and `relay_figures` stand
    apart, since a control that was not upgraded yet takes nothing new in `services` and `relays`.
    `set_aside`: the last table that was at fault, until another is in force; `set_aside_total`
    counts them.
    `shortages`: how often the node itself had not enough of something, see `shortage`.
    `upgrades`: how often a new version has taken over. `release`: which one serves, see `release`;
    empty: one that does not tell.
    """

    at: float
    services: Mapping[str, ServiceReport] = field(default_factory=dict)
    targets: Mapping[str, TargetReport] = field(default_factory=dict)
    relays: tuple[RelayReport, ...] = ()
    listen_failures: Mapping[str, str] = field(default_factory=dict)
    accept_errors: int = 0
    log_dropped: int = 0
    full: Mapping[str, int] = field(default_factory=dict)
    ejections: tuple[EjectionReport, ...] = ()
    figures: Mapping[str, ServiceFigures] = field(default_factory=dict)
    set_aside: SetAsideReport | None = None
    set_aside_total: int = 0
    shortages: Mapping[str, int] = field(default_factory=dict)
    upgrades: int = 0
    relay_figures: tuple[RelayFigures, ...] = ()
    release: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the message, its "type" included."""
        return {"type": "report", **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Report:
        """The inverse of `to_json`. Raises KeyError, TypeError or AttributeError."""
        return cls(
            at=value["at"],
            services={
                name: ServiceReport(
                    **{
                        **service,
                        "regions": {
                            region: RegionReport(**count)
                            for region, count in service["regions"].items()
                        },
                    }
                )
                for name, service in value["services"].items()
            },
            targets={name: TargetReport(**target) for name, target in value["targets"].items()},
            relays=tuple(RelayReport(**relay) for relay in value["relays"]),
            # A steering that was not upgraded yet does not tell these.
            listen_failures=value.get("listen_failures", {}),
            accept_errors=value.get("accept_errors", 0),
            log_dropped=value.get("log_dropped", 0),
            full=value.get("full", {}),
            ejections=tuple(EjectionReport(**one) for one in value.get("ejections", ())),
            figures={name: service_figures(one) for name, one in value.get("figures", {}).items()},
            relay_figures=tuple(relay_figures(one) for one in value.get("relay_figures", ())),
            set_aside=SetAsideReport(**one) if (one := value.get("set_aside")) else None,
            set_aside_total=value.get("set_aside_total", 0),
            shortages=value.get("shortages", {}),
            upgrades=value.get("upgrades", 0),
            release=value.get("release", ""),
        )


def merge_ejections(
    of_relays: Iterable[Iterable[Mapping[str, Any]]],
) -> tuple[EjectionReport, ...]:
    """What several relay workers tell, each target once; not more than MOST_EJECTIONS."""
    found: dict[tuple[str, str, str], EjectionReport] = {}
    for ejections in of_relays:
        for values in ejections:
            one = EjectionReport(**values)
            key = (one.service, one.region, one.worker or "")
            if (other := found.get(key)) is not None:
                latest = max(one, other, key=lambda either: either.until)
                one = replace(latest, relays=other.relays + 1)
            found[key] = one
    return tuple(found[key] for key in sorted(found)[:MOST_EJECTIONS])


def add(left: Tree, right: Tree) -> dict[str, Any]:
    """Add counters name by name."""
    result: dict[str, Any] = dict(left)
    for name, value in right.items():
        known = result.get(name)
        if isinstance(value, Mapping):
            result[name] = add(known or {}, value)
        else:
            result[name] = (known or 0) + value
    return result


def surplus(names: Collection[Name], known: Callable[[], Collection[Name]]) -> list[Name]:
    """Which names to forget, so that memory is bounded: none as long as they are few.

    Only then it is asked which are known: in a table of thousands that takes milliseconds.
    """
    if len(names) <= MOST_NAMES:
        return []
    kept = known()
    return [name for name in names if name not in kept]


def forget(counters: Tree, table: Table) -> dict[str, Any]:
    """Retired counters without the services and (see MOST_NAMES) targets that left the table."""
    result: dict[str, Any] = dict(counters)
    kept = {service.name for service in table.services}
    for key in ("services", "figures", "full"):
        if key in result:
            result[key] = {name: value for name, value in result[key].items() if name in kept}
    if "targets" in result:
        gone = surplus(
            result["targets"], lambda: {f"{region}/{worker}" for region, worker in table.targets}
        )
        if gone:
            left = result["targets"].keys() - gone
            result["targets"] = {name: result["targets"][name] for name in left}
    return result


def succeed(before: Mapping[str, Any], counters: Mapping[str, Any]) -> dict[str, Any]:
    """A relay worker's counters; they have the figures of some services alone, in turns.

    Those of the others are as they were before.
    """
    kept = {
        name: figures
        for name, figures in before.get("figures", {}).items()
        if name in counters["services"]
    }
    return {**counters, "figures": {**kept, **counters.get("figures", {})}}


def retire(counters: Tree) -> dict[str, Any]:
    """The counters of a relay worker that is gone: the totals stay, nothing is live."""
    # "full" has totals by the services' names, of which one may be "live".
    kept = {"full": counters["full"]} if "full" in counters else {}
    return _nothing_live(counters) | kept


def _nothing_live(counters: Tree) -> dict[str, Any]:
    return {
        name: _nothing_live(value) if isinstance(value, Mapping) else 0 if name == "live" else value
        for name, value in counters.items()
    }
