"""What `edgenode regions` has to show, out of the node's status. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgenode.cli.tables import some
from edgenode.cli.times import spell


@dataclass(frozen=True)
class Limits:
    """Of live connections from this node; None: there is none."""

    soft: int | None = None
    hard: int | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Limits:
        return cls(values.get("soft_limit"), values.get("hard_limit"))

    def reached(self, live: int | None) -> str:
        """``full`` or ``busy`` where a limit is reached, else empty."""
        if live is None:
            return ""
        if self.hard is not None and live >= self.hard:
            return "full"
        return "busy" if self.soft is not None and live >= self.soft else ""


@dataclass(frozen=True)
class Worker:
    """A worker's port."""

    name: str
    """With its port, as it is probed."""
    state: str
    """up, down, unknown; suspect, draining, ejected, busy or full: up, and still gets fewer."""
    why: str
    rtt_ms: float | None
    live: int | None
    """Connections from this node to the worker, whatever the port; None: not reported."""
    limits: Limits
    weight: int
    for_s: float | None
    """Since when its probes have said so."""
    load: float | None
    """How busy its host says that it is, 1.0: wholly; None: it does not say."""

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "why": self.why,
            "rtt_ms": self.rtt_ms,
            "live": self.live,
            "soft_limit": self.limits.soft,
            "hard_limit": self.limits.hard,
            "weight": self.weight,
            "for_s": self.for_s,
            "load": self.load,
        }


@dataclass(frozen=True)
class Region:
    """A region, as new connections would find it."""

    name: str
    order: int
    """1: the nearest; before what a service prefers."""
    state: str
    """As a worker's; partly: some workers are not up."""
    why: str
    rtt_ms: float | None
    healthy: int
    """Workers that answer, on one of their ports at least."""
    total: int
    """Workers; one with several ports is one."""
    live: int | None
    limits: Limits
    workers: tuple[Worker, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "order": self.order,
            "state": self.state,
            "why": self.why,
            "rtt_ms": self.rtt_ms,
            "workers_up": self.healthy,
            "workers_total": self.total,
            "live": self.live,
            "soft_limit": self.limits.soft,
            "hard_limit": self.limits.hard,
            "workers": [worker.as_json() for worker in self.workers],
        }


def regions(status: Mapping[str, Any]) -> list[Region]:
    """All of them, the nearest first."""
    report = status["steering"]["report"]
    connections: Mapping[str, Any] | None = report.get("targets", {}) if report else None
    ejected = dict(_ejections(report or {}))
    loads = (status.get("registry") or {}).get("loads", {})
    return [
        _region(order, region, connections, ejected, loads)
        for order, region in enumerate(status["regions"], 1)
    ]


def _region(
    order: int,
    region: Mapping[str, Any],
    connections: Mapping[str, Any] | None,
    ejected: Mapping[tuple[str, str], str],
    loads: Mapping[str, float],
) -> Region:
    name, draining = region["name"], bool(region.get("draining"))
    workers = tuple(
        _worker(name, target, figures, connections, ejected, loads, draining)
        for target, figures in region["targets"].items()
    )
    # A worker with two ports has one number of connections.
    live = {worker.name.rpartition(":")[0]: worker.live for worker in workers}
    all_live = None if connections is None else sum(each or 0 for each in live.values())
    limits = Limits.of(region)
    state, why = _standing(workers, draining, limits.reached(all_live))
    if told := ejected.get((name, "")):
        state, why = ("partly" if state == "up" else state), f"{told}; {why}".removesuffix("; ")
    return Region(
        name=name,
        order=order,
        state=state,
        why=why,
        rtt_ms=region["rtt_ms"],
        healthy=region["workers_up"],
        total=region["workers"],
        live=all_live,
        limits=limits,
        workers=workers,
    )


def _worker(
    region: str,
    target: str,
    figures: Mapping[str, Any],
    connections: Mapping[str, Any] | None,
    ejected: Mapping[tuple[str, str], str],
    loads: Mapping[str, float],
    draining: bool,
) -> Worker:
    name = target.rpartition(":")[0]
    live = None
    if connections is not None:
        live = connections.get(f"{region}/{name}", {}).get("live", 0)
    limits = Limits.of(figures)
    state, why = figures["state"], figures["reason"]
    if state == "up":
        if told := figures.get("suspect"):
            state, why = "suspect", f"{told}; gets no new connections while others are healthy"
        elif draining or figures.get("draining"):
            state, why = "draining", "gets no new connections while others are healthy"
        elif told := ejected.get((region, name)):
            state, why = "ejected", told
        elif reached := limits.reached(live):
            state, why = reached, f"{live} connections from here"
    return Worker(
        name=target,
        state=state,
        why=why,
        rtt_ms=figures["rtt_ms"],
        live=live,
        limits=limits,
        weight=figures.get("weight", 1),
        for_s=figures.get("for"),
        load=loads.get(f"{region}/{name}"),
    )


def _standing(workers: tuple[Worker, ...], draining: bool, reached: str) -> tuple[str, str]:
    """The state of a region, and why it is not just up."""
    states = Counter(worker.state for worker in workers)
    away = [worker for worker in workers if worker.state in ("down", "unknown")]
    suspects = [worker for worker in workers if worker.state == "suspect"]
    said = _commonest(worker.why for worker in (*away, *suspects))
    if not workers:
        return "down", "no worker"
    if len(away) == len(workers):
        return ("down" if states["down"] else "unknown"), said
    if len(away) + len(suspects) == len(workers):
        return "suspect", said
    if draining:
        return "draining", "gets no new connections while others are healthy"
    why = ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if state != "up")
    if why and said:
        why += f": {said}"
    return reached or ("partly" if why else "up"), why


def _commonest(reasons: Iterable[str]) -> str:
    """What most say, and of how many others there is more to read."""
    found = Counter(reason for reason in reasons if reason)
    if not found:
        return ""
    reason, _ = found.most_common(1)[0]
    return reason + (f" (and {len(found) - 1} other reasons)" if len(found) > 1 else "")


def notes(status: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong beside the regions: services without one, and where the workers come from."""
    for service in status.get("services", ()):
        if service["reachable"] is False:
            yield f"{service['name']} has no reachable region{_evidence(service)}"
        elif service.get("cause") == "everywhere":
            yield f"{service['name']} is reached from nowhere{_evidence(service)}"
    if told := set_aside(status["steering"]["report"] or {}):
        yield told
    yield from registry_notes(status)


def set_aside(report: Mapping[str, Any]) -> str:
    """That steering does not serve from the newest table; empty: it does."""
    found = report.get("set_aside")
    if not found:
        return ""
    return (
        f"steering serves from an older table: table {found['revision']} has failed, and "
        f"{found['reason']}"
    )


def registry_notes(status: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with where the workers come from."""
    registry = status.get("registry") or {"source": "config"}
    if registry["source"] == "config":
        return
    if registry["source"] == "copy":
        age = registry["age_s"]
        old = "there is none" if age is None else f"that is {spell(age)} old serves"
        yield f"etcd: {registry['problem'] or 'not asked yet'}; of the workers the copy {old}"
    elif registry["problem"]:
        yield f"registry: {registry['problem']}"
    held = [each["worker"] for each in registry["missing"]]
    if held:
        yield f"kept for now, though their records have gone: {some(held)}"
    if refused := registry["refused_count"]:
        yield f"records that are not used: {refused} (edgenode history --kind registry)"


def _evidence(service: Mapping[str, Any]) -> str:
    return f": {service['evidence']}" if service.get("evidence") else ""


def _ejections(report: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    """Those that the relays leave alone, by what they have seen themselves; "": a whole region."""
    for each in report.get("ejections", ()):
        if each["ejections"] or each["worker"] is None:
            left = max(0.0, each["until"] - report["at"])
            yield (
                (each["region"], each["worker"] or ""),
                f"{each['reason']}: {each['service']} leaves it alone for {left:.0f} s more",
            )
