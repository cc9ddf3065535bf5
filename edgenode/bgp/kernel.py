"""What the kernel must have before a group is announced: its addresses, and an end for the rest.

An announced prefix has unused addresses. With forwarding on, a packet to one of them would follow
the default route back upstream, return, and so on until its TTL ends; so each prefix has a
``blackhole`` route. Its metric is high: any real route to the same prefix is preferred.
Everything is idempotent, and nothing here is ever taken away from a group that is announced.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from edgenode.config import Address, Group, Network

METRIC = 4_000_000_000
"""Above all that a routing daemon or an operator sets."""

_NODAD = 0x02  # IFA_F_NODAD: usable at once, no duplicate address detection
_FAMILY = {4: 2, 6: 10}


class KernelError(Exception):
    """The kernel refused; the text is a sentence for the operator."""


def prepare(group: Group, ip: IPRoute | None = None) -> None:
    """Blackhole routes and service addresses of a group, before it is announced.

    `ip` is an open netlink socket (of any network namespace); absent: one is opened. Raises
    KernelError. Not in the thread of a running event loop: this blocks for some round trips, and
    pyroute2 from 0.8 on refuses (RuntimeError); there, ``await asyncio.to_thread(prepare, group)``.
    """
    with _netlink(ip) as netlink:
        for prefix in group.prefixes:
            with _explained(f"the blackhole route for {prefix} cannot be set"):
                netlink.route("replace", **_blackhole(prefix))
        for address in group.addresses:
            what = f"address {address} cannot be set on {group.address_device}"
            with _explained(what, fine=errno.EEXIST):
                netlink.addr("add", **_on_device(netlink, group, address))


def _blackhole(prefix: Network) -> dict[str, Any]:
    return {
        "family": _FAMILY[prefix.version],
        "dst": str(prefix),
        "type": "blackhole",
        "priority": METRIC,
    }


def _on_device(netlink: IPRoute, group: Group, address: Address) -> dict[str, Any]:
    found = list(netlink.link_lookup(ifname=group.address_device))
    if not found:
        raise KernelError(
            f"there is no device {group.address_device} for the addresses of group {group.name}: "
            "create it, or set address_device"
        )
    request: dict[str, Any] = {
        "index": found[0],
        "family": _FAMILY[address.version],
        "address": str(address),
        "prefixlen": address.max_prefixlen,
    }
    return request | ({"flags": _NODAD} if address.version == 6 else {})


@contextmanager
def _netlink(ip: IPRoute | None) -> Iterator[IPRoute]:
    if ip is not None:
        yield ip
        return
    with IPRoute() as opened:
        yield opened


@contextmanager
def _explained(what: str, *, fine: int = 0) -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code == fine:
            return
        hint = ": run as root (CAP_NET_ADMIN)" if error.code == errno.EPERM else ""
        raise KernelError(f"{what} ({error.args[-1]}){hint}") from error
