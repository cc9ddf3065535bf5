"""The schema of [[services]] and [steering]: users' connections and how they are steered."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from edgenode.config.section import Connections, Flag, Port, Section, Share
from edgenode.config.values import (
    Duration,
    EndpointField,
    FilePath,
    Name,
    NetworkField,
    PositiveDuration,
    ProtocolName,
    ServerName,
)

Rate = Annotated[float, Field(strict=True, gt=0, le=1_000_000)]
"""Connections a second."""
Burst = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Prefixes = Annotated[tuple[NetworkField, ...], Field(max_length=20_000)]


class ServiceLimits(Section):
    """How much a service takes from its users, on this node. Absent: as much as there is."""

    connections: Connections | None = None
    """Live ones at a time."""
    per_source: Connections | None = None
    """Of them, from one source."""
    source_prefix_v4: Annotated[int, Field(strict=True, ge=8, le=32)] = 32
    """How many bits of a user's address make its source."""
    source_prefix_v6: Annotated[int, Field(strict=True, ge=16, le=128)] = 64
    rate: Rate | None = None
    """New connections a second."""
    burst: Burst | None = None
    """How many may come at once after a pause; absent: those of a second."""
    source_rate: Rate | None = None
    """Likewise, from one source."""
    source_burst: Burst | None = None


class Service(Section):
    """Connections that are accepted here and steered to the workers."""

    name: Name
    group: Name
    listen: tuple[EndpointField, ...] = Field(min_length=1)
    regions: tuple[Name, ...] = ()
    """Empty: all regions."""
    prefer: tuple[Name, ...] = ()
    """Regions that come first while they are healthy, in this order."""
    exclude: tuple[Name, ...] = ()
    """Regions that are never used."""
    pin: Name | None = None
    """The one region that is ever used."""
    port: Port
    """The workers' port for this service."""
    sni: tuple[ServerName, ...] = ()
    """Names by which TLS clients are known to be meant, "*.example.net" for all below it."""
    alpn: tuple[ProtocolName, ...] = ()
    """Protocols likewise."""
    hello_timeout: Annotated[PositiveDuration, Field(ge=0.1, le=60)] = 5.0
    """Seconds in which what is awaited of a user before a worker is dialed must have come."""
    accept_proxy: tuple[NetworkField, ...] = ()
    """Whose connections begin with a PROXY header, which says who the user is."""
    proxy_protocol: Literal["v2", "v1", "none"] = "v2"
    """How the worker is told who the user is."""
    proxy_tlvs: tuple[Literal["authority", "alpn", "unique-id", "crc32c"], ...] = ()
    """What it is told beside the addresses, by version 2."""
    connect_timeout: PositiveDuration = 1.0
    """Seconds for one attempt, at most; the relay learns what is usual and waits less."""
    idle_timeout: PositiveDuration = 300.0
    """Seconds for which nothing moves."""
    half_closed_timeout: PositiveDuration | None = None
    """Likewise, once one side has ended; absent: `idle_timeout`."""
    lifetime: PositiveDuration | None = None
    """Seconds after which a connection is ended, whatever it does; absent: never."""
    allow: Prefixes = ()
    """Where users may come from; none: from everywhere. The most specific prefix decides."""
    deny: Prefixes = ()
    """Where they may not."""
    limits: ServiceLimits = ServiceLimits()
    slow_start: Annotated[Duration, Field(le=3600)] = 0.0
    """Seconds in which a worker that came up is given its full share; 0: at once."""
    hedge: Flag = True
    """Whether an attempt that is not answered in about the usual time is raced by another."""
    close_dead: Flag = False
    """Whether the connections of a worker are closed when its probes find it dead."""
    warm: Annotated[int, Field(strict=True, ge=0, le=256)] = 0
    """Connections that each relay worker keeps ready to the nearest region."""
    server_first: Flag = False
    """Whether the workers speak before the users do (SMTP, SSH, MySQL)."""
    client_first: Flag = False
    """Whether the users do (HTTP, TLS): their connections are then handed over with their first
    bytes."""

    @cached_property
    def prefix_lists(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """`allow` and `deny` as text; made once, since there may be thousands."""
        return tuple(map(str, self.allow)), tuple(map(str, self.deny))

    def may_use(self, region: str) -> bool:
        """Whether a region is allowed: by `regions`, `exclude` and `pin`."""
        if self.pin is not None:
            return region == self.pin
        return region not in self.exclude and (not self.regions or region in self.regions)


class Outliers(Section):
    """Workers that the relays leave alone by what they see themselves."""

    failures: Annotated[int, Field(strict=True, ge=0, le=1000)] = 5
    """Failed connections in a row after which a worker is ejected; 0: never."""
    base_time: PositiveDuration = 30.0
    """Seconds of the first ejection; each that follows soon is longer."""
    max_time: PositiveDuration = 300.0
    """Seconds of the longest."""
    max_share: Share = 0.5
    """Of a region's workers, never more are ejected at once."""


class Dialing(Section):
    """How many attempts the relays make beside the first of each connection."""

    hedge_share: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.2
    """Of a service's connections, so many may be raced by a second attempt …"""
    hedge_floor: Annotated[float, Field(strict=True, ge=0, le=10_000)] = 10.0
    """… and so many a second besides, in each relay worker."""
    warm_age: Annotated[PositiveDuration, Field(le=3600)] = 20.0
    """Seconds that a connection is kept ready."""


class AccessLog(Section):
    """A JSON line a connection."""

    file: FilePath | None = None
    """Absent: standard error."""
    sample: Annotated[float, Field(strict=True, ge=0, le=1)] = 1.0
    """The share of the ordinary connections that have a line; those that fail all have one."""
    long_after: Duration = 600.0
    """Seconds after which a connection that lives has a line, again and again; 0: never."""


def _access_log(value: object) -> object:
    """The short form is the file alone."""
    return {"file": value} if isinstance(value, str) else value


class Steering(Section):
    workers: Annotated[int, Field(strict=True, ge=0, le=256)] = 0
    """Relay workers; 0: one per core."""
    max_connections: Connections = 100_000
    access_log: Annotated[AccessLog, BeforeValidator(_access_log)] = AccessLog()
    outliers: Outliers = Outliers()
    dialing: Dialing = Dialing()
