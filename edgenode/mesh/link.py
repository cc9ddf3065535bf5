"""The mesh device as the kernel's network stack sees it: addresses, MTU, routes (rtnetlink(7)).

Blocking; the netlink socket is made in the calling thread, so it is in that thread's namespace.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from edgenode.mesh.errors import MeshError, MeshUnavailable
from edgenode.mesh.state import (
    AddAddress,
    AddRoute,
    Interface,
    LinkChange,
    LinkState,
    RemoveAddress,
    RemoveRoute,
    ResizeRoute,
    Route,
    SetMtu,
    SetUp,
)

IFF_UP = 1
IFA_F_NODAD = 2
"""WireGuard has no neighbours that duplicate address detection could ask."""
RT_TABLE_MAIN = 254
RTPROT_EDGENODE = 221
"""The mark of our routes, by which we know them from an operator's or a daemon's. Numbers from 5 on
are free to take (rtnetlink(7)); neither iproute2 nor FRR nor BIRD uses this one."""
RT_SCOPE_LINK = 253
RT_SCOPE_UNIVERSE = 0


@dataclass(frozen=True)
class Link:
    """A device that exists."""

    index: int
    kind: str
    """"wireguard", or "tun" for one of wireguard-go."""
    mtu: int
    up: bool


@contextmanager
def _netlink(doing: str) -> Iterator[Any]:
    """Strict checking (Linux 4.20) lets the kernel filter dumps: a full BGP table is not read."""
    try:
        with IPRoute(strict_check=True) as netlink:
            yield netlink
    except (NetlinkError, OSError) as error:
        raise MeshError(f"{doing}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    code = error.code if isinstance(error, NetlinkError) else getattr(error, "errno", None)
    if code == errno.EPERM:
        return f"{text}; edgenode needs CAP_NET_ADMIN"
    if code == errno.EEXIST:
        return f"{text}; remove it there, or take it out of the configuration"
    return text


def find(name: str) -> Link | None:
    """The device of this name, if it exists here. Raises MeshError."""
    with _netlink(f"cannot look for the device {name}") as netlink:
        for index in netlink.link_lookup(ifname=name):
            for message in netlink.get_links(index):
                info = message.get_attr("IFLA_LINKINFO")
                return Link(
                    index=index,
                    kind=(info.get_attr("IFLA_INFO_KIND") if info else None) or "",
                    mtu=message.get_attr("IFLA_MTU"),
                    up=bool(message["flags"] & IFF_UP),
                )
    return None


def create(name: str) -> None:
    """Make a device of the kernel's own WireGuard.

    Raises MeshUnavailable when this kernel has none, else MeshError.
    """
    with _netlink(f"cannot make the WireGuard device {name}") as netlink:
        try:
            netlink.link("add", ifname=name, kind="wireguard")
        except NetlinkError as error:
            if error.code != errno.EOPNOTSUPP:
                raise
            raise MeshUnavailable(
                f"there is no WireGuard device {name} and this kernel has no WireGuard: "
                f"install wireguard-go and start it with `wireguard-go -f {name}`"
            ) from None


def current(name: str, link: Link) -> LinkState:
    """Raises MeshError."""
    with _netlink(f"cannot read the routes of {name}") as netlink:
        routes = frozenset(
            _route(message)
            for family in (4, 6)
            for message in netlink.get_routes(family=_AF[family], oif=link.index)
            if message["table"] == RT_TABLE_MAIN and message["proto"] == RTPROT_EDGENODE
        )
    return LinkState(link.mtu, link.up, addresses(name, link), routes)


def addresses(name: str, link: Link) -> frozenset[Interface]:
    """Raises MeshError."""
    with _netlink(f"cannot read the addresses of {name}") as netlink:
        return frozenset(_interface(m) for m in netlink.get_addr(index=link.index))


_AF = {4: 2, 6: 10}


def _interface(message: Any) -> Interface:
    # IFA_ADDRESS is the far end on a point-to-point link, IFA_LOCAL ours; IPv6 has the first only.
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return ip_interface(f"{address}/{message['prefixlen']}")


def _route(message: Any) -> Route:
    family_default = "0.0.0.0" if message["family"] == _AF[4] else "::"
    to = message.get_attr("RTA_DST") or family_default
    source = message.get_attr("RTA_PREFSRC")
    metrics = message.get_attr("RTA_METRICS")
    return Route(
        ip_network(f"{to}/{message['dst_len']}"),
        ip_address(source) if source else None,
        (metrics.get_attr("RTAX_MTU") if metrics else None) or None,
    )


def apply(name: str, link: Link, changes: Sequence[LinkChange]) -> None:
    """In the order given. Raises MeshError at the first that the kernel refuses."""
    for change in changes:
        with _netlink(f"cannot {_describe(change)} {name}") as netlink:
            _apply_one(netlink, link.index, change)


def _describe(change: LinkChange) -> str:
    match change:
        case SetMtu(mtu):
            return f"set the MTU {mtu} on"
        case SetUp():
            return "bring up"
        case AddAddress(address):
            return f"add the address {address} to"
        case RemoveAddress(address):
            return f"remove the address {address} from"
        case AddRoute(route):
            return f"add a route to {route.to} through"
        case ResizeRoute(route):
            return f"set the MTU {route.mtu or 'of the device'} on the route to {route.to} through"
        case RemoveRoute(route):
            return f"remove the route to {route.to} through"


def _apply_one(netlink: Any, index: int, change: LinkChange) -> None:
    match change:
        case SetMtu(mtu):
            netlink.link("set", index=index, mtu=mtu)
        case SetUp():
            netlink.link("set", index=index, state="up")
        case AddAddress(address):
            flags = {"flags": IFA_F_NODAD} if address.version == 6 else {}
            netlink.addr("add", **_address(index, address), **flags)
        case RemoveAddress(address):
            netlink.addr("del", **_address(index, address))
        case AddRoute(route):
            # "add", not "replace": that would take away a route through another device.
            netlink.route("add", **_path(index, route))
        case ResizeRoute(route):
            # In one step. It is ours: nobody else's can have the same destination and metric.
            netlink.route("replace", **_path(index, route))
        case RemoveRoute(route):
            netlink.route("del", **_path(index, route))


def _address(index: int, address: Interface) -> dict[str, Any]:
    return {"index": index, "address": str(address.ip), "prefixlen": address.network.prefixlen}


def _path(index: int, route: Route) -> dict[str, Any]:
    path: dict[str, Any] = {"dst": str(route.to), "oif": index, "table": RT_TABLE_MAIN}
    path["proto"] = RTPROT_EDGENODE  # for "del", too: it passes over others' routes
    path["scope"] = RT_SCOPE_LINK if route.to.version == 4 else RT_SCOPE_UNIVERSE
    if route.source is not None:
        path["prefsrc"] = str(route.source)
    if route.mtu is not None:
        path["metrics"] = {"mtu": route.mtu}
    return path
