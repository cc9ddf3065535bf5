"""What a listen address awaits of a user before a worker is dialed, and whose users come there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgenode.steering.admission import Admission
from edgenode.steering.connection import Route
from edgenode.steering.counters import Counters
from edgenode.steering.prefixes import Prefixes, prefixes
from edgenode.steering.routing import Routes
from edgenode.steering.table import Table

_OF_HELLOS = {"authority", "alpn"}
"""What a worker is told, and only a TLS hello tells us."""


@dataclass(frozen=True, slots=True)
class Door:
    """A listen address at which something is awaited, for `timeout` seconds altogether.

    `trusted`: who sends a PROXY header (None: nobody). `routes`: whose a TLS client is (None: no
    hello is awaited). `sole`: all users are of one service.
    """

    listen: str
    timeout: float
    trusted: Prefixes | None
    routes: Routes[Route] | None
    sole: bool


def arrange(
    table: Table, counters: Counters, admission: Admission
) -> tuple[dict[str, Route], dict[str, Door]]:
    """The route of each listen address, and the doors of those at which something is awaited.

    The route is that of the address's default service, or of the first that shares it: what ends
    before it is known whose it is counts as that one's.
    """
    sharing: dict[str, list[Route]] = {}
    for service in table.services:
        name = service.name
        route = Route(service, counters.service(name), table.bind, admission.guard(name))
        for listen in service.listen:
            sharing.setdefault(listen, []).append(route)
    routes, doors = {}, {}
    for listen, sharers in sharing.items():
        defaults = [one for one in sharers if not one.service.sni and not one.service.alpn]
        routes[listen] = (*defaults, *sharers)[0]
        trusted = routes[listen].service.accept_proxy
        if trusted or _hello_awaited(sharers):
            doors[listen] = Door(
                listen,
                routes[listen].service.hello_timeout,
                prefixes(trusted, ()) if trusted else None,
                _routes(sharers) if _hello_awaited(sharers) else None,
                len(sharers) == 1,
            )
    return routes, doors


def _hello_awaited(sharers: Sequence[Route]) -> bool:
    services = [route.service for route in sharers]
    return any(one.sni or one.alpn or _OF_HELLOS & set(one.proxy_tlvs) for one in services)


def _routes(sharers: Sequence[Route]) -> Routes[Route]:
    return Routes([(route.service.sni, route.service.alpn, route) for route in sharers])
