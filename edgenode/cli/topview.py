"""What `edgenode top` has to show, out of two reports of steering. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgenode.steering.figures import RegionFigures, RelayFigures, ServiceFigures, Times
from edgenode.steering.histogram import quantile
from edgenode.steering.report import RegionReport, Report, ServiceReport
from edgenode.steering.why import ORDINARY, Why

EVERY = "*"
"""All regions of a service."""

_EARLY = 0.1
"""Seconds: a report that is early by less covers its interval."""


@dataclass(frozen=True)
class Traffic:
    """A service, in one region or in all; what is "per second" is so on average of the interval."""

    service: str
    region: str
    live: int
    new_s: float
    failed_s: float
    """Of a service: connections that ended otherwise than sessions do. Of a region: attempts."""
    up_s: float
    """Bytes."""
    down_s: float
    connect_p50_ms: float | None
    """None: nobody was connected in the interval."""
    connect_p99_ms: float | None
    rtt_p50_ms: float | None
    """To the users; None: unknown. It is known of a service alone."""
    retransmits: float | None
    """Share of the segments to the users."""


@dataclass(frozen=True)
class Relay:
    """A relay worker."""

    place: int
    pid: int
    healthy: bool
    live: int
    cpu: float | None
    """Of one core; None: not known yet."""
    busy: float
    """Share of the last second in which it did not wait for events."""
    lag_ms: float
    """The longest that an event waited for its turn in that second."""
    form: str
    """compiled, interpreted; empty: not told."""


@dataclass(frozen=True)
class Worker:
    """Whom connections are steered to."""

    region: str
    name: str
    live: int
    failed_s: float


@dataclass(frozen=True)
class Frame:
    """What happened between two reports."""

    at: float
    interval_s: float
    traffic: tuple[Traffic, ...]
    """By service, the busiest first: all of its regions (`EVERY`), then each."""
    endings: Mapping[str, Mapping[str, float]]
    """By service: why connections have ended, how many a second."""
    relays: tuple[Relay, ...]
    workers: tuple[Worker, ...]
    """The busiest first."""
    notes: tuple[str, ...]
    """What is wrong."""
    release: str = ""
    """Of the steering that runs; empty: it does not tell."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def frame(before: Report, after: Report) -> Frame:
    """Counters that are smaller than before, as of a steering that was restarted, count for 0."""
    seconds = max(after.at - before.at, 1e-3)
    services = sorted(after.services, key=lambda name: (-after.services[name].live, name))
    return Frame(
        at=after.at,
        interval_s=round(seconds, 3),
        traffic=tuple(row for name in services for row in _service(name, before, after, seconds)),
        endings={name: _endings(name, before, after, seconds) for name in services},
        relays=tuple(_relays(before, after, seconds)),
        workers=tuple(_workers(before, after, seconds)),
        notes=tuple(_notes(before, after)),
        release=after.release,
    )


def _service(name: str, before: Report, after: Report, seconds: float) -> Iterator[Traffic]:
    now, old = after.services[name], before.services.get(name, ServiceReport())
    figures, former = (each.figures.get(name, ServiceFigures()) for each in (after, before))
    rtt = _since(former.rtt, figures.rtt)
    regions = [
        _region(name, region, now, old, figures, former, seconds) for region in sorted(now.regions)
    ]
    failed = sum(
        count
        for why, count in _grown(former.endings, figures.endings).items()
        if why not in ORDINARY and why != Why.LOCAL_PROBE
    )
    connect: Counter[str] = Counter()
    for region in now.regions:
        connect.update(_connects(region, figures, former))
    yield Traffic(
        service=name,
        region=EVERY,
        live=now.live,
        new_s=_rate(old.accepted, now.accepted, seconds),
        failed_s=round(failed / seconds, 2),
        up_s=_rate(old.bytes_up, now.bytes_up, seconds),
        down_s=_rate(old.bytes_down, now.bytes_down, seconds),
        connect_p50_ms=_ms(connect, 0.5),
        connect_p99_ms=_ms(connect, 0.99),
        rtt_p50_ms=_ms(rtt, 0.5),
        retransmits=_share(
            figures.retransmits - former.retransmits, figures.segments - former.segments
        ),
    )
    yield from sorted(regions, key=lambda each: (-each.live, -each.new_s, each.region))


def _region(
    service: str,
    region: str,
    now: ServiceReport,
    old: ServiceReport,
    figures: ServiceFigures,
    former: ServiceFigures,
    seconds: float,
) -> Traffic:
    present, past = now.regions[region], old.regions.get(region, RegionReport())
    bytes_now, bytes_then = (
        each.regions.get(region, RegionFigures()) for each in (figures, former)
    )
    connect = _connects(region, figures, former)
    return Traffic(
        service=service,
        region=region,
        live=present.live,
        new_s=_rate(past.connections, present.connections, seconds),
        failed_s=_rate(past.failures, present.failures, seconds),
        up_s=_rate(bytes_then.bytes_up, bytes_now.bytes_up, seconds),
        down_s=_rate(bytes_then.bytes_down, bytes_now.bytes_down, seconds),
        connect_p50_ms=_ms(connect, 0.5),
        connect_p99_ms=_ms(connect, 0.99),
        rtt_p50_ms=None,
        retransmits=None,
    )


def _connects(region: str, now: ServiceFigures, then: ServiceFigures) -> Mapping[str, int]:
    none = RegionFigures()
    return _since(then.regions.get(region, none).connect, now.regions.get(region, none).connect)


def _endings(name: str, before: Report, after: Report, seconds: float) -> Mapping[str, float]:
    now, then = (each.figures.get(name, ServiceFigures()) for each in (after, before))
    grown = _grown(then.endings, now.endings)
    return {
        why: round(count / seconds, 2)
        for why, count in sorted(grown.items(), key=lambda each: (-each[1], each[0]))
    }


def _relays(before: Report, after: Report, seconds: float) -> Iterator[Relay]:
    known = {each.pid: each for each in before.relay_figures}
    for place, relay in enumerate(after.relays):
        figures = after.relay_figures[place] if place < len(after.relay_figures) else RelayFigures()
        then = known.get(relay.pid)
        used = None if then is None else max(0.0, figures.cpu_s - then.cpu_s)
        yield Relay(
            place,
            relay.pid,
            relay.healthy,
            figures.live,
            None if used is None else round(used / seconds, 3),
            figures.busy,
            figures.lag_ms,
            figures.form,
        )


def _workers(before: Report, after: Report, seconds: float) -> Iterator[Worker]:
    found = []
    for name, target in after.targets.items():
        then = before.targets.get(name)
        failed = max(0, target.connect_failures - (then.connect_failures if then else 0))
        if target.live or failed:
            region, _, worker = name.partition("/")
            found.append(Worker(region, worker, target.live, round(failed / seconds, 2)))
    yield from sorted(found, key=lambda one: (-one.live, -one.failed_s, one.region, one.name))


def _notes(before: Report, after: Report) -> Iterator[str]:
    hung = sum(not relay.healthy for relay in after.relays)
    if hung:
        yield f"{hung} of {len(after.relays)} relay workers do not answer"
    for listen, reason in after.listen_failures.items():
        yield f"{listen} is not listened on: {reason}"
    if after.set_aside is not None:
        yield f"table {after.set_aside.revision} is set aside: {after.set_aside.reason}"
    for what, count in _grown(before.shortages, after.shortages).items():
        yield f"{count} times this node ran out of {what}"
    if (lost := after.log_dropped - before.log_dropped) > 0:
        yield f"{lost} lines of the access log were dropped: its reader or disk is too slow"
    alone = Counter(
        f"{one.service}: region {one.region} comes last ({one.reason})"
        if one.worker is None
        else f"{one.service}: workers of {one.region} are left alone ({one.reason})"
        for one in after.ejections
    )
    for text, count in sorted(alone.items()):
        yield text if count == 1 else f"{text}: {count}"


def _rate(then: int, now: int, seconds: float) -> float:
    return round(max(0, now - then) / seconds, 2)


def _grown(then: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    return {key: more for key, value in now.items() if (more := value - then.get(key, 0)) > 0}


def _since(then: Times, now: Times) -> Mapping[str, int]:
    return _grown(then.buckets, now.buckets)


def _ms(buckets: Mapping[str, int], share: float) -> float | None:
    found = quantile(buckets, share)
    return None if found is None else round(found * 1e3, 1)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole > 0 and part >= 0 else None


def pairs(reports: Iterable[Report], interval: float) -> Iterator[tuple[Report, Report]]:
    """Reports that are so many seconds apart, or up to one more: they come once a second."""
    before: Report | None = None
    for report in reports:
        if before is None:
            before = report
        elif report.at - before.at >= interval - _EARLY:
            yield before, report
            before = report
