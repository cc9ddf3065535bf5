"""The mesh as it shall be and as it is, and the single changes between the two. Only data."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from edgenode.config.values import Address, Endpoint
from edgenode.mesh.keys import PresharedKey

Network = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True)
class Peer:
    """A peer as it shall be."""

    public_key: str
    endpoint: Endpoint | None
    """None: the peer calls us."""
    allowed: frozenset[Network]
    keepalive: int
    """Seconds; 0: none."""
    preshared: PresharedKey | None = None


@dataclass(frozen=True)
class PeerState(Peer):
    """A peer as the device has it. `endpoint` is where it last spoke from."""

    handshake_at: float | None = None
    """Seconds of UNIX time; None: never."""
    rx: int = 0
    tx: int = 0


@dataclass(frozen=True)
class Route:
    """A route through the device."""

    to: Network
    source: Address | None
    """The preferred source."""
    mtu: int | None = None
    """Bytes of an IP packet; None: the device's."""


@dataclass(frozen=True)
class Desired:
    public_key: str
    """Of the node's own private key, which only the device's back end sees."""
    listen_port: int
    mtu: int
    addresses: frozenset[Interface]
    routes: frozenset[Route]
    peers: tuple[Peer, ...]


@dataclass(frozen=True)
class DeviceState:
    """What WireGuard knows."""

    public_key: str | None
    listen_port: int
    peers: tuple[PeerState, ...]


@dataclass(frozen=True)
class LinkState:
    """What the kernel's network stack knows of the device."""

    mtu: int
    up: bool
    addresses: frozenset[Interface]
    routes: frozenset[Route]
    """Those that we set. Others through the device are somebody else's business."""


@dataclass(frozen=True)
class Current:
    device: DeviceState
    link: LinkState


@dataclass(frozen=True)
class SetKey:
    """The device gets the node's private key."""


@dataclass(frozen=True)
class SetPort:
    port: int


@dataclass(frozen=True)
class RemovePeer:
    public_key: str


@dataclass(frozen=True)
class SetPeer:
    """Add the peer, or bring it in line from `before`: only what differs is sent then.

    An `endpoint` of None leaves the present one.
    """

    peer: Peer
    before: Peer | None = None

    @property
    def keepalive(self) -> int | None:
        """Seconds to set; None: it is right already."""
        same = self.before is not None and self.before.keepalive == self.peer.keepalive
        return None if same else self.peer.keepalive

    @property
    def sets_preshared(self) -> bool:
        """Whether the preshared key, or that there is none, has to be set."""
        return self.peer.preshared != (self.before.preshared if self.before else None)

    @property
    def replaces(self) -> bool:
        """Whether the allowed addresses have to be set as a whole: some have to go, and WireGuard
        knows no other way. For a moment the peer has none of them then."""
        return self.before is None or not self.before.allowed <= self.peer.allowed

    @property
    def differs(self) -> bool:
        """Whether there is anything to set."""
        return (
            self.before is None
            or self.peer.endpoint is not None
            or self.keepalive is not None
            or self.sets_preshared
            or self.before.allowed != self.peer.allowed
        )

    @property
    def allowed(self) -> list[str]:
        """The allowed addresses to set: all of them where it `replaces`, else the new ones."""
        known = frozenset() if self.before is None or self.replaces else self.before.allowed
        return sorted(str(network) for network in self.peer.allowed - known)


@dataclass(frozen=True)
class SetMtu:
    mtu: int


@dataclass(frozen=True)
class SetUp:
    pass


@dataclass(frozen=True)
class AddAddress:
    address: Interface


@dataclass(frozen=True)
class RemoveAddress:
    address: Interface


@dataclass(frozen=True)
class AddRoute:
    route: Route


@dataclass(frozen=True)
class ResizeRoute:
    """A route that is there gets another MTU."""

    route: Route


@dataclass(frozen=True)
class RemoveRoute:
    route: Route


DeviceChange = SetKey | SetPort | RemovePeer | SetPeer
LinkChange = SetMtu | SetUp | AddAddress | RemoveAddress | AddRoute | ResizeRoute | RemoveRoute
Change = DeviceChange | LinkChange


@dataclass(frozen=True)
class Plan:
    """Changes in the order in which they are safe to apply."""

    leaving: tuple[RemoveRoute, ...]
    """Routes first, so that no packet is sent to a peer that is gone."""
    device: tuple[DeviceChange, ...]
    link: tuple[LinkChange, ...]

    @property
    def changes(self) -> tuple[Change, ...]:
        return (*self.leaving, *self.device, *self.link)
