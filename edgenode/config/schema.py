"""The schema of the one configuration file (TOML): types, defaults, and what each key means.

Rules that span sections (overlaps, references) are in `rules`, files on disk in `secrets`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgenode import places
from edgenode.config.values import (
    AddressField,
    Asn,
    Duration,
    EndpointField,
    FilePath,
    InterfaceName,
    Name,
    NetworkField,
    PositiveDuration,
    ProbeUrlField,
    RouterId,
    ServedPorts,
)

Count = Annotated[int, Field(strict=True, ge=1, le=100)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
HttpStatus = Annotated[int, Field(strict=True, ge=100, le=599)]
Argument = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Flag = Annotated[bool, Field(strict=True)]
HeaderValue = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,255}$")]


class Section(BaseModel):
    """A table of the file: frozen once loaded, unknown keys refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
    )


class Node(Section):
    name: Name
    """This node; unique in the mesh."""
    run_dir: FilePath = Path("/run/edgenode")
    """Sockets, in one directory per process."""
    state_dir: FilePath = Path("/var/lib/edgenode")
    """SQLite, the WireGuard key, the last steering table, in one directory per process."""


class Neighbor(Section):
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


class Bgp(Section):
    asn: Asn
    router_id: RouterId
    socket: FilePath = Path("/run/bird/bird.ctl")
    """BIRD's control socket."""
    config: FilePath = Path("/var/lib/edgenode/bird/bird.conf")
    """The file that we write and BIRD reads (bird.service); its secrets lie beside it."""
    hold_time: Annotated[Duration, Field(ge=3, le=3600)] = 9.0
    """Seconds; BIRD's own default of 240 s keeps a dead node's routes for minutes."""
    drain_prepend: Annotated[int, Field(strict=True, ge=0, le=10)] = 3
    drain_time: Duration = 10.0
    """Seconds that a drained route stands before it is withdrawn."""
    neighbors: tuple[Neighbor, ...] = Field(min_length=1)


class Lifeline(Section):
    device: InterfaceName = "edgenode0"
    """The TUN device that all announcements hang on."""
    grace: Annotated[Duration, Field(le=60)] = 3.0
    """Seconds for a restarted control to take over before the routes go."""
    heartbeat_timeout: Annotated[Duration, Field(ge=1, le=60)] = 10.0
    """Seconds without a heartbeat after which control counts as hung."""


class Group(Section):
    """Prefixes that are announced and withdrawn together."""

    name: Name
    prefixes: tuple[NetworkField, ...] = Field(min_length=1)
    addresses: tuple[AddressField, ...] = ()
    """Service addresses, inside the prefixes; present before the announcement."""
    address_device: InterfaceName = "lo"
    ports: tuple[ServedPorts, ...] = ()
    """What a local proxy serves on the addresses ("tcp/80"): let in by the firewall."""
    checks: tuple[Name, ...] = ()
    """All of them must be up."""
    regions_required: Literal["any", "all"] = "any"
    """How many of the services steered in this group need a reachable region."""
    on_control_loss: Literal["withdraw", "keep"] = "withdraw"
    """What the lifeline does with this group when control is gone."""


class CheckBase(Section):
    name: Name
    interval: PositiveDuration = 1.0
    jitter: Annotated[float, Field(strict=True, ge=0, le=0.5)] = 0.1
    """Share of the interval by which each probe is moved at random."""
    timeout: PositiveDuration = 0.5
    rise: Count = 2
    fall: Count = 3


class SocketCheckBase(CheckBase):
    tripwire: Flag = True
    """Hold an idle connection to the target, and look at once when it breaks."""
    restart_grace: Duration = 0.0
    """Seconds for which a refused connection is waited out after the tripwire fired."""


class TcpCheck(SocketCheckBase):
    type: Literal["tcp"]
    target: EndpointField


class HttpCheck(SocketCheckBase):
    type: Literal["http"]
    url: ProbeUrlField
    host: HeaderValue | None = None
    """The Host header; absent: the address of the URL."""
    status: tuple[HttpStatus, ...] = Field((200,), min_length=1)


class ExecCheck(CheckBase):
    type: Literal["exec"]
    command: tuple[Argument, ...] = Field(min_length=1)
    """Program and arguments, no shell; exit status 0 is up. `edgenode exec-runner` runs it."""
    timeout: PositiveDuration = 5.0


Check = Annotated[TcpCheck | HttpCheck | ExecCheck, Field(discriminator="type")]


class Service(Section):
    """Connections that are accepted here and steered to the workers."""

    name: Name
    group: Name
    listen: tuple[EndpointField, ...] = Field(min_length=1)
    regions: tuple[Name, ...] = ()
    """Empty: all regions."""
    port: Port
    """The workers' port for this service."""
    proxy_protocol: Literal["v2", "none"] = "v2"
    connect_timeout: PositiveDuration = 1.0
    """Seconds for one attempt, at most; the relay learns what is usual and waits less."""
    idle_timeout: PositiveDuration = 300.0


class Worker(Section):
    name: Name
    addresses: tuple[AddressField, ...] = Field(min_length=1)
    """Mesh addresses, the preferred family first."""


class RegionProbe(Section):
    interval: PositiveDuration = 1.0
    timeout: PositiveDuration = 1.0
    rise: Count = 2
    fall: Count = 2


class Region(Section):
    name: Name
    workers: tuple[Worker, ...] = Field(min_length=1)
    probe: RegionProbe = RegionProbe()


class Steering(Section):
    workers: Annotated[int, Field(strict=True, ge=0, le=256)] = 0
    """Relay workers; 0: one per core."""
    max_connections: Annotated[int, Field(strict=True, ge=1, le=2_000_000)] = 100_000
    access_log: FilePath | None = None
    """A JSON line per connection; absent: standard error."""


class MeshPeer(Section):
    name: Name
    public_key: str
    endpoint: EndpointField | None = None
    """Absent: the peer calls us."""
    allowed: tuple[NetworkField, ...] = Field(min_length=1)
    """Addresses behind this peer; routes follow them."""
    keepalive: Annotated[Duration, Field(le=65535)] = 15.0
    """Seconds; 0: none."""


class Mesh(Section):
    device: InterfaceName = "wg0"
    listen_port: Port = 51820
    private_key_file: FilePath | None = None
    """Absent: control/wireguard.key in the state directory; made at the first start."""
    addresses: tuple[AddressField, ...] = Field(min_length=1, max_length=2)
    """The node's own mesh addresses, one a family."""
    mtu: Annotated[int, Field(strict=True, ge=1280, le=9000)] = 1420
    peers: tuple[MeshPeer, ...] = ()


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
    lifeline: Lifeline = Lifeline()
    groups: tuple[Group, ...] = Field(min_length=1)
    checks: tuple[Check, ...] = ()
    services: tuple[Service, ...] = ()
    regions: tuple[Region, ...] = ()
    steering: Steering = Steering()
    firewall: Firewall | None = None
    mesh: Mesh | None = None
    metrics: Metrics | None = None

    @property
    def private_key_file(self) -> Path:
        """Where the WireGuard private key is, or will be made."""
        configured = self.mesh.private_key_file if self.mesh else None
        return configured or places.control_state(self.node.state_dir) / "wireguard.key"

    def services_of(self, group: str) -> tuple[Service, ...]:
        """The services steered in a group."""
        return tuple(service for service in self.services if service.group == group)

    def regions_of(self, service: Service) -> tuple[Region, ...]:
        """The regions that a service may use."""
        return tuple(r for r in self.regions if not service.regions or r.name in service.regions)
