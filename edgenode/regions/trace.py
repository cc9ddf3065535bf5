"""Which region and worker a client would be given now, and why, candidate by candidate. Pure.

A client's address does not decide: all clients of a service are steered alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgenode.config import Service, schema
from edgenode.config.values import Address, parse_address
from edgenode.regions.ranking import States, order_of
from edgenode.regions.reasons import Scene, Seen
from edgenode.regions.registry import Region, Registry, Target
from edgenode.steering import table
from edgenode.steering.table import split_endpoint


class TraceError(ValueError):
    """What was asked cannot be answered; the text says why, and what to ask instead."""


@dataclass(frozen=True)
class WorkerCandidate:
    """A worker, and what speaks for or against it. `share`: its chance to be taken, 0 to 1."""

    worker: str
    address: str
    port: int
    state: str
    rtt_ms: float | None
    weight: int
    weight_now: float | None
    """Less than `weight` while its slow start lasts; None: it is not in the table."""
    live: int | None
    soft_limit: int | None
    hard_limit: int | None
    draining: bool
    in_table: bool
    share: float
    why: str
    suspect: bool = False
    """It has not answered for much longer than usual, and is used where nothing else is healthy."""


@dataclass(frozen=True)
class RegionCandidate:
    """A region, in the order in which they are tried; `place` counts from 1, None: never tried."""

    region: str
    place: int | None
    chosen: bool
    rtt_ms: float | None
    live: int | None
    soft_limit: int | None
    hard_limit: int | None
    draining: bool
    why: str
    workers: tuple[WorkerCandidate, ...] = ()


@dataclass(frozen=True)
class Trace:
    """The answer. `revision` is the table's; `region` None: a client would be refused."""

    service: str
    listen: tuple[str, ...]
    revision: int | None
    region: str | None
    workers: Mapping[str, float]
    """Those that may be taken, with their chances."""
    why: str
    regions: tuple[RegionCandidate, ...]

    def to_json(self) -> dict[str, Any]:
        """For the admin API."""
        return asdict(self)


def service_for(
    services: tuple[Service, ...],
    groups: Sequence[schema.Group],
    address: str,
    name: str | None,
) -> Service:
    """The service that is meant: by its name, by one of its listen addresses, or as the only one.

    `address` is that of a client ("198.51.100.7"), or one that the node listens on, with or without
    the port. Raises TraceError, also where it is in a prefix of the groups, so no client's, and no
    service listens on it.
    """
    try:
        host, port = parse_address(address), None
    except ValueError:
        try:
            host, port = split_endpoint(address)
        except ValueError:
            raise TraceError(
                f"{address!r} is no address: write that of a client, such as 198.51.100.7, or one "
                "that the node listens on, such as 203.0.113.1:443 or [2001:db8::1]:443"
            ) from None
    there = ", ".join(service.name for service in services) or "none"
    named = [service for service in services if name in (None, service.name)]
    if name is not None and not named:
        raise TraceError(f"there is no service {name!r}; there are: {there}")
    found = [
        service
        for service in named
        if any(one.host == host and port in (None, one.port) for one in service.listen)
    ]
    if not found:
        _refuse_ours(services, groups, host, address, name)
    if name is not None:
        return named[0]
    if len(found or services) == 1:
        return (found or services)[0]
    if not services:
        raise TraceError("no service is steered on this node")
    which = ", ".join(service.name for service in found) if found else there
    where = f"{len(found)} services listen on {address}" if found else "there are several services"
    raise TraceError(f"{where}: say which one by --service ({which})")


def _refuse_ours(
    services: tuple[Service, ...],
    groups: Sequence[schema.Group],
    host: Address,
    address: str,
    name: str | None,
) -> None:
    """Raise TraceError for an address out of our prefixes, which none of those meant listens on."""
    for group in groups:
        if any(host.version == each.version and host in each for each in group.prefixes):
            break
    else:
        return
    # Those of the same address say more than others of the group.
    theirs = [service for service in services if service.group == group.name]
    near = [each for each in theirs if any(one.host == host for one in each.listen)] or theirs
    who = "no service listens" if name is None else f"service {name} does not listen"
    where = f"{who} on {address}, an address of the group {group.name}"
    if not near:
        raise TraceError(f"{where}: that group has no service, nobody is steered from there")
    listening = "; ".join(
        f"{each.name} on {' '.join(str(endpoint) for endpoint in each.listen)}" for each in near
    )
    raise TraceError(f"{where}: ask for one that a service listens on ({listening})")


def candidates(
    registry: Registry,
    service: Service,
    states: States,
    in_force: table.Table | None,
    order: tuple[str, ...],
    seen: Seen,
    unix: float,
) -> Trace:
    """What would happen to a connection to a service at this Unix time.

    `in_force`: the table that the relays serve from; `order`: all regions, nearest first.
    """
    scene = Scene(registry, service, states, in_force, seen, unix)
    known = dict.fromkeys((*scene.places, *order_of(service, order), *service.exclude))
    return Trace(
        service=service.name,
        listen=tuple(str(endpoint) for endpoint in service.listen),
        revision=in_force.revision if in_force else None,
        region=scene.expectation.region,
        workers={
            name: round(share, 4) for name, share in scene.expectation.shares.items() if share > 0
        },
        why=scene.verdict(),
        regions=tuple(_region(registry, scene, name) for name in known),
    )


def _region(registry: Registry, scene: Scene, name: str) -> RegionCandidate:
    found = registry.regions.get(name, Region())
    return RegionCandidate(
        region=name,
        place=scene.places.get(name),
        chosen=name == scene.expectation.region,
        rtt_ms=_ms(scene.rtts.get(name)),
        live=None if scene.seen.live is None else scene.totals.get(name, 0),
        soft_limit=found.soft_limit,
        hard_limit=found.hard_limit,
        draining=found.draining,
        why=scene.of_region(name),
        workers=tuple(_worker(scene, target) for target in scene.targets.get(name, ())),
    )


def _worker(scene: Scene, target: Target) -> WorkerCandidate:
    name, worker = target.key.region, target.key.worker
    listed = scene.listed.get((name, worker))
    state = scene.states[target.key]
    return WorkerCandidate(
        worker=worker,
        address=str(target.endpoint.host),
        port=target.endpoint.port,
        state=state.state.value,
        rtt_ms=_ms(state.rtt),
        weight=target.weight,
        weight_now=None if listed is None else round(scene.weight(listed), 2),
        live=None if scene.seen.live is None else scene.seen.live.get((name, worker), 0),
        soft_limit=target.soft_limit,
        hard_limit=target.hard_limit,
        draining=target.draining,
        in_table=listed is not None,
        share=round(scene.share(target), 4),
        why="; ".join(scene.of_worker(target)),
        suspect=bool(state.suspect),
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
