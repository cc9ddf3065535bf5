"""What to change on the routes through the device, and how large the packets on each may be. Pure.

A peer's packets may have to be smaller than the device's MTU: its routes then carry an MTU of their
own (RTAX_MTU), of which the kernel makes the MSS that TCP offers and heeds. No other peer is
touched by that, and a route is replaced in one step: no packet meets a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from edgenode.mesh.state import Desired, LinkState, Network, Route

IPV6_MIN_MTU = 1280
"""RFC 8200, section 5: no IPv6 route may have less."""

Mtus = Mapping[str, int | None]
"""By a peer's public key: bytes of an IP packet to it, at most; None: as the device's. A peer that
is not in it keeps what its routes have: so a control that was started again, and does not know yet,
opens no black hole."""


@dataclass(frozen=True)
class RouteChanges:
    """Each in the order of the networks."""

    leaving: tuple[Route, ...]
    new: tuple[Route, ...]
    resized: tuple[Route, ...]
    """They stay, with another MTU."""


def changes(want: Desired, have: LinkState, mtus: Mtus) -> RouteChanges:
    """From the routes that there are to those that are wanted."""
    present = {(route.to, route.source): route for route in have.routes}
    wanted = {(route.to, route.source): route for route in want.routes}
    told = {
        network: mtus[peer.public_key]
        for peer in want.peers
        if peer.public_key in mtus
        for network in peer.allowed
    }
    sized = {
        key: replace(route, mtu=_of_family(route.to, told[route.to]))
        for key, route in wanted.items()
        if route.to in told
    }
    return RouteChanges(
        leaving=_ordered(route for key, route in present.items() if key not in wanted),
        new=_ordered(sized.get(k, route) for k, route in wanted.items() if k not in present),
        resized=_ordered(r for k, r in sized.items() if k in present and present[k].mtu != r.mtu),
    )


def _of_family(to: Network, mtu: int | None) -> int | None:
    return mtu if mtu is None or to.version == 4 else max(mtu, IPV6_MIN_MTU)


def _ordered(routes: Iterable[Route]) -> tuple[Route, ...]:
    return tuple(sorted(routes, key=lambda route: (route.to.version, str(route.to))))
