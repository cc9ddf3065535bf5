"""The schema of the one configuration file (TOML): types, defaults, and what each key means.

The sections of steering, checks and the registry are in `steering`, `checks` and `registry`, rules
that span sections (overlaps, references) in `rules`, files on disk in `secrets`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgenode import places
from edgenode.config.checks import Check, Hook
from edgenode.config.communities import CommunityField
from edgenode.config.registry import Registry
from edgenode.config.section import Connections, Count, Flag, Port, Section, Share
from edgenode.config.steering import Service, Steering
from edgenode.config.values import (
    AddressField,
    Asn,
    Duration,
    EndpointField,
    FilePath,
    InterfaceName,
    Interval,
    MeshEndpointField,
    Name,
    NetworkField,
    PositiveDuration,
    RouterId,
    ServedPorts,
)

Med = Annotated[int, Field(strict=True, ge=0, le=0x7FFFFFFF)]
"""MULTI_EXIT_DISC (RFC 4271): 32 bits, of which two of these make no more."""
Prepend = Annotated[int, Field(strict=True, ge=0, le=10)]
"""How often a route has our AS number once more than it needs."""
HoldTime = Annotated[Duration, Field(ge=3, le=3600)]
"""Seconds; BGP knows whole ones, 0 (never) apart: at least 3 (RFC 4271)."""
Communities = Annotated[tuple[CommunityField, ...], Field(max_length=64)]


class Node(Section):
    name: Name
    """This node; unique in the mesh."""
    run_dir: FilePath = Path("/run/edgenode")
    """Sockets, in one directory per process."""
    state_dir: FilePath = Path("/var/lib/edgenode")
    """SQLite, the WireGuard key, the last steering table, in one directory per process."""
    maintenance_file: FilePath | None = None
    """While this file is there the node is in maintenance; its first line is the reason."""


class Attributes(Section):
    """What a route of ours carries: the neighbor's and the group's add up."""

    med: Med | None = None
    """Absent: none is sent. The group's goes before the neighbor's."""
    prepend: Prepend = 0
    communities: Communities = ()


class Neighbor(Attributes):
    name: Name
    address: AddressField
    """Its family is the family of the session's routes."""
    asn: Asn
    source: AddressField | None = None
    """Our address of the session, where the kernel's choice is not the right one."""
    multihop: Annotated[int, Field(strict=True, ge=2, le=255)] | None = None
    """Hops; absent: the neighbor is on a shared link."""
    ttl_security: Flag = False
    """GTSM (RFC 5082). Only where the neighbor does the same: else the session stays down."""
    password_file: FilePath | None = None
    """TCP MD5 password (RFC 2385): one line, readable by its owner alone."""
    bfd: Flag = False
    """RFC 5880: a dead path is seen within a second. Only where the neighbor does the same."""
    hold_time: HoldTime | None = None
    """Seconds; absent: `bgp.hold_time`."""
    keep_blackhole: Flag = False
    """Let 65535:666 (RFC 7999) pass to this neighbor: else it is taken off every route."""
    default_route: Flag = False
    """Import 0.0.0.0/0 or ::/0 from here into the kernel, and nothing else."""
    default_limit: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    """Routes that are imported at most; more are blocked, and the session stays."""
    last_site_view: Flag = False
    """Take our own prefixes from this neighbor, to look at only: for the last-site guard."""


class Bgp(Section):
    asn: Asn
    router_id: RouterId
    socket: FilePath = Path("/run/bird/bird.ctl")
    """BIRD's control socket."""
    config: FilePath = Path("/var/lib/edgenode/bird/bird.conf")
    """The file that we write and BIRD reads (bird.service); its secrets lie beside it."""
    hold_time: HoldTime = 9.0
    """Seconds; BIRD's own default of 240 s keeps a dead node's routes for minutes."""
    drain_prepend: Prepend = 3
    drain_time: Duration = 10.0
    """Seconds that a drained route stands, at most, before it is withdrawn."""
    drain_idle: Duration = 5.0
    """Seconds without a byte of a user after which a drained group is withdrawn sooner."""
    communities: Communities = ()
    """On each route of ours, to every neighbor."""
    include: tuple[FilePath, ...] = ()
    """Files with BIRD configuration of the operator's own."""
    neighbors: tuple[Neighbor, ...] = Field(min_length=1)


class Degraded(Section):
    """How a degraded route looks, beside the same one at the level normal."""

    prepend: Prepend = 2
    """How often it has our AS number once more."""
    med: Med = 100
    """Added to its MED, which is 0 where none is sent."""


class Lifeline(Section):
    device: InterfaceName = "edgenode0"
    """The TUN device that all announcements hang on."""
    grace: Annotated[Duration, Field(le=60)] = 3.0
    """Seconds for a restarted control to take over before the routes go."""
    heartbeat_timeout: Annotated[Duration, Field(ge=1, le=60)] = 10.0
    """Seconds without a heartbeat after which control counts as hung."""


class Rule(Section):
    """What a group becomes when its checks do not bear it any more."""

    checks: tuple[Name, ...] = Field(min_length=1)
    need: Literal["all", "any", "quorum"] = "all"
    """How many of the checks have to be up."""
    low: Share = 0.5
    """Quorum: broken when the share of checks that are up falls below."""
    high: Share = 0.7
    """Quorum: whole again when the share reaches this."""
    level: Literal["degraded", "drained", "withdrawn"] = "withdrawn"
    """The group's level while the rule is broken; the most cautious of all broken rules holds."""


class Damping(Section):
    """How upstreams punish a route that flaps (RFC 2439), with the figures of RFC 7196."""

    enabled: Flag = True
    """Whether a re-announcement waits rather than cross the threshold."""
    suppress: Annotated[float, Field(ge=1000, le=100_000)] = 6000.0
    """The penalty above which an upstream hides the route."""
    reuse: Annotated[float, Field(ge=1, le=100_000)] = 750.0
    """The penalty below which it shows the route again."""
    half_life: Annotated[Duration, Field(ge=1)] = 900.0
    """Seconds in which a penalty halves."""
    max_suppress: Annotated[Duration, Field(ge=1)] = 3600.0
    """Seconds for which a route is hidden at most; no re-announcement waits longer."""


class Group(Attributes):
    """Prefixes that are announced and withdrawn together."""

    name: Name
    prefixes: tuple[NetworkField, ...] = Field(min_length=1)
    addresses: tuple[AddressField, ...] = ()
    """Service addresses, inside the prefixes; present before the announcement."""
    address_device: InterfaceName = "lo"
    ports: tuple[ServedPorts, ...] = ()
    """What a local proxy serves on the addresses ("tcp/80"): let in by the firewall."""
    checks: tuple[Name, ...] = ()
    """All of them must be up, else the group is withdrawn: the shortest way to say a rule."""
    rules: tuple[Rule, ...] = ()
    """Further rules."""
    hold_down: Duration = 0.0
    """After a withdraw, the least time in seconds until it is announced again."""
    damping: Damping = Damping()
    regions_required: Literal["any", "all"] = "any"
    """How many of the services steered in this group need a reachable region."""
    on_control_loss: Literal["withdraw", "keep"] = "withdraw"
    """What the lifeline does with this group when control is gone."""


class Limited(Section):
    """What takes a bounded number of connections, or no new ones for a while."""

    soft_limit: Connections | None = None
    """From here on new connections go elsewhere, if they can."""
    hard_limit: Connections | None = None
    """Never more than this."""
    draining: Flag = False
    """No new connections while others are healthy."""


class Worker(Limited):
    name: Name
    addresses: tuple[AddressField, ...] = Field(min_length=1)
    """Mesh addresses, the preferred family first."""
    weight: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    """Its share of the region's connections, beside the other workers' weights."""


class RegionProbe(Section):
    interval: Interval = 1.0
    timeout: PositiveDuration = 1.0
    rise: Count = 2
    fall: Count = 2


class Region(Limited):
    name: Name
    workers: tuple[Worker, ...] = ()
    """Those that do not register themselves."""
    probe: RegionProbe = RegionProbe()


class MeshPeer(Section):
    name: Name
    public_key: str
    next_public_key: str | None = None
    """The one that the peer will have: its addresses move there with the first handshake."""
    preshared_key_file: FilePath | None = None
    """A key that both nodes share, beside their own: readable by its owner alone."""
    endpoint: MeshEndpointField | None = None
    """Absent: the peer calls us. A name is resolved again and again."""
    allowed: tuple[NetworkField, ...] = Field(min_length=1)
    """Addresses behind this peer; routes follow them."""
    keepalive: Annotated[Duration, Field(le=65535)] = 15.0
    """Seconds; 0: none."""
    edge: Flag = False
    """Another edge, a sibling: each tells the other what it reaches (`siblings`)."""


class Paths(Section):
    """The look at each tunnel's truth: echoes to every peer, small ones and full-size ones."""

    enabled: Flag = True
    interval: Interval = 5.0
    """Seconds between two small echoes on a path that is well."""
    full_interval: PositiveDuration = 5.0
    """Seconds between two of the largest packet that is to pass."""
    timeout: PositiveDuration = 1.0
    """Seconds for an answer."""
    min_mtu: Annotated[int, Field(strict=True, ge=576, le=9000)] = 576
    """Bytes: the least that makes a path of use."""
    grow_interval: PositiveDuration = 600.0
    """Seconds until larger packets are tried again where large ones vanished."""


class Mesh(Section):
    device: InterfaceName = "wg0"
    listen_port: Port = 51820
    private_key_file: FilePath | None = None
    """Absent: control/wireguard.key in the state directory; made at the first start."""
    addresses: tuple[AddressField, ...] = Field(min_length=1, max_length=2)
    """The node's own mesh addresses, one a family."""
    mtu: Annotated[int, Field(strict=True, ge=1280, le=9000)] = 1420
    paths: Paths = Paths()
    peers: tuple[MeshPeer, ...] = ()


class Siblings(Section):
    """How the edges tell each other, over the mesh, what they reach."""

    port: Port = 51821
    """UDP; the same on all edges."""
    interval: Annotated[Duration, Field(ge=0.2, le=60)] = 1.0
    """Seconds between two messages to each sibling."""
    stale_after: Annotated[Duration, Field(ge=1, le=600)] = 4.0
    """Seconds after which a sibling that is not heard counts no more."""
    quorum: Share = 0.5
    """The share of the siblings that must say of a service that no region answers, and none that
    one does, before a node that sees the same takes it for dead everywhere."""


class Firewall(Section):
    management: tuple[NetworkField, ...] = Field(min_length=1)
    """Where SSH (and metrics, unless on loopback) may be reached from."""
    include: tuple[FilePath, ...] = ()
    """nftables rules of the operator's own, for what is not let in otherwise."""
    log_drops: Flag = True
    """Some of what is dropped goes to the kernel's log."""


class Metrics(Section):
    listen: EndpointField


class Config(Section):
    """One node's whole configuration."""

    node: Node
    bgp: Bgp
    degraded: Degraded = Degraded()
    lifeline: Lifeline = Lifeline()
    groups: tuple[Group, ...] = Field(min_length=1)
    checks: tuple[Check, ...] = ()
    hooks: tuple[Hook, ...] = ()
    services: tuple[Service, ...] = ()
    regions: tuple[Region, ...] = ()
    registry: Registry | None = None
    steering: Steering = Steering()
    firewall: Firewall | None = None
    mesh: Mesh | None = None
    siblings: Siblings = Siblings()
    metrics: Metrics | None = None

    @property
    def private_key_file(self) -> Path:
        """Where the WireGuard private key is, or will be made."""
        configured = self.mesh.private_key_file if self.mesh else None
        return configured or places.control_state(self.node.state_dir) / "wireguard.key"

    @property
    def edges(self) -> tuple[MeshPeer, ...]:
        """The mesh's peers that are edges like this one."""
        return tuple(peer for peer in self.mesh.peers if peer.edge) if self.mesh else ()

    def checks_of(self, group: str) -> frozenset[str]:
        """The names of all checks that a group hangs on, by whatever rule."""
        found = (each for each in self.groups if each.name == group)
        return frozenset(
            name
            for each in found
            for names in (each.checks, *(rule.checks for rule in each.rules))
            for name in names
        )

    def services_of(self, group: str) -> tuple[Service, ...]:
        """The services steered in a group."""
        return tuple(service for service in self.services if service.group == group)

    def regions_of(self, service: Service) -> tuple[Region, ...]:
        """The regions that a service may use."""
        return tuple(region for region in self.regions if service.may_use(region.name))
