"""Rules for where connections are steered: which regions, how many, how outliers go. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network

from edgenode.config.errors import KeyPath, Problem, duplicates
from edgenode.config.references import no_such, undefined
from edgenode.config.schema import Config, Limited
from edgenode.config.steering import Outliers, Service
from edgenode.config.values import Endpoint
from edgenode.steering.sharing import clashes

_MAPPED = IPv6Network("::ffff:0:0/96")
"""RFC 4291, section 2.5.5.2."""
_IPV4 = 2**32 - 1


def check(config: Config) -> Iterator[Problem]:
    """What the schema cannot say of each table by itself."""
    regions = [region.name for region in config.regions]
    for s, service in enumerate(config.services):
        yield from _regions(service, ("services", s), regions)
        if service.warm and service.server_first:
            what = (
                "is for protocols in which the user speaks first: a worker that speaks first would"
                " greet nobody (server_first is set); take out one of the two"
            )
            yield Problem(("services", s, "warm"), what)
        if service.client_first and service.server_first:
            what = (
                "and server_first cannot both be: a user whose worker speaks first would wait a"
                " second for its greeting; take out one of the two"
            )
            yield Problem(("services", s, "client_first"), what)
        yield from _protection(service, ("services", s))
        yield from _told_by_proxies(service, ("services", s))
    yield from _greetings(config.services)
    for clash in clashes(config.services):
        yield Problem(
            ("services", clash.second, clash.key), clash.what, depends=("services", clash.first)
        )
    for r, region in enumerate(config.regions):
        yield from _limits(region, ("regions", r))
        for w, worker in enumerate(region.workers):
            yield from _limits(worker, ("regions", r, "workers", w))
    yield from _outliers(config.steering.outliers, ("steering", "outliers"))


def _greetings(services: Sequence[Service]) -> Iterator[Problem]:
    """No user of a service whose workers speak first may be one whose hello is awaited."""
    sharing: dict[Endpoint, list[Service]] = {}
    for service in services:
        for listen in service.listen:
            sharing.setdefault(listen, []).append(service)
    for s, service in enumerate(services):
        key: KeyPath = ("services", s, "server_first")
        if not service.server_first:
            continue
        if service.sni or service.alpn:
            what = (
                "and sni or alpn cannot both be: in TLS the user speaks first, and is told apart by"
                " what he says; take out one of the two"
            )
            yield Problem(key, what)
        elif {"authority", "alpn"} & set(service.proxy_tlvs):
            what = (
                "and proxy_tlvs with authority or alpn cannot both be: a TLS hello would be awaited"
                " of users who wait for the worker's greeting; take out one of the two"
            )
            yield Problem(key, what)
        else:
            others = ((listen, one) for listen in service.listen for one in sharing[listen])
            for listen, other in others:
                if other.sni or other.alpn:
                    what = (
                        f'cannot be on {listen}, where service "{other.name}" is told apart by a'
                        " TLS hello: one would be awaited of users who wait for the worker's"
                        " greeting; give this service another address or port"
                    )
                    yield Problem(key, what, depends=("services", services.index(other)))
                    break


def _regions(service: Service, key: KeyPath, known: list[str]) -> Iterator[Problem]:
    """`pin`, `prefer` and `exclude`: each names regions, and none takes back another's."""
    yield from undefined("region", known, service.prefer, (*key, "prefer"))
    yield from undefined("region", known, service.exclude, (*key, "exclude"))
    pin = service.pin
    if pin is not None and pin not in known:
        yield Problem((*key, "pin"), no_such("region", pin, known), depends=("regions",))
    elif pin in service.exclude:
        yield Problem((*key, "pin"), f'"{pin}" is excluded: a service cannot be pinned to it')
    elif pin is not None and service.regions and pin not in service.regions:
        yield Problem((*key, "pin"), f'"{pin}" is not among the regions of the service')
    for position, name in enumerate(service.prefer):
        place = (*key, "prefer", position)
        if name in service.exclude:
            yield Problem(place, f'"{name}" is excluded: it cannot be preferred')
        elif pin is not None and name != pin:
            yield Problem(place, f'the service is pinned to "{pin}", and never uses another region')
        elif service.regions and name in known and name not in service.regions:
            yield Problem(place, f'"{name}" is not among the regions of the service')
    allowed = [name for name in service.regions or known if name in known]
    if allowed and pin is None and set(allowed) <= set(service.exclude):
        what = f'excludes every region that service "{service.name}" may use'
        yield Problem((*key, "exclude"), what, depends=("regions",))


def _protection(service: Service, key: KeyPath) -> Iterator[Problem]:
    """Lists that do not contradict each other, limits and timeouts that mean something."""
    if "allow" in service.model_fields_set and not service.allow:
        what = "an empty list is none: name who may come, or take it out to let everybody in"
        yield Problem((*key, "allow"), what)
    for name in ("allow", "deny", "accept_proxy"):
        for position, prefix in enumerate(getattr(service, name)):
            if isinstance(prefix, IPv6Network) and prefix.subnet_of(_MAPPED):
                own = IPv4Network((int(prefix.network_address) & _IPV4, prefix.prefixlen - 96))
                what = f"users that come by IPv4 go by their IPv4 address: write {own}"
                yield Problem((*key, name, position), what)
    allowed = set(service.allow)
    for position, prefix in enumerate(service.deny):
        if prefix in allowed:
            yield Problem((*key, "deny", position), f"{prefix} is allowed as well: leave out one")
    limits = service.limits
    for of in ("", "source_"):
        if getattr(limits, f"{of}burst") is not None and getattr(limits, f"{of}rate") is None:
            what = f"means nothing without {of}rate"
            yield Problem((*key, "limits", f"{of}burst"), what)
    total, one = limits.connections, limits.per_source
    if total is not None and one is not None and one > total:
        what = f"is above connections ({total}): it would never be reached"
        yield Problem((*key, "limits", "per_source"), what)
    half = service.half_closed_timeout
    if half is not None and half > service.idle_timeout:
        what = f"is above idle_timeout ({service.idle_timeout:g} s), which is over sooner"
        yield Problem((*key, "half_closed_timeout"), what)


def _told_by_proxies(service: Service, key: KeyPath) -> Iterator[Problem]:
    """What PROXY headers say, those of others and ours."""
    for position, prefix in enumerate(service.accept_proxy):
        if prefix.prefixlen == 0:
            what = f"{prefix} is everybody: each user could say to be another; name your proxies"
            yield Problem((*key, "accept_proxy", position), what)
    for name in ("sni", "alpn", "accept_proxy", "proxy_tlvs"):
        values = getattr(service, name)
        keyed: list[tuple[KeyPath, object]] = [
            ((*key, name, position), value) for position, value in enumerate(values)
        ]
        yield from duplicates("value", keyed)
    if service.proxy_tlvs and service.proxy_protocol != "v2":
        what = f'proxy_protocol "{service.proxy_protocol}" has no room for them: it must be "v2"'
        yield Problem((*key, "proxy_tlvs"), what)


def _limits(limited: Limited, key: KeyPath) -> Iterator[Problem]:
    soft, hard = limited.soft_limit, limited.hard_limit
    if soft is not None and hard is not None and soft > hard:
        what = f"is above hard_limit ({hard}): connections would be refused before they spill over"
        yield Problem((*key, "soft_limit"), what)


def _outliers(outliers: Outliers, key: KeyPath) -> Iterator[Problem]:
    if outliers.base_time > outliers.max_time:
        what = f"is above max_time ({outliers.max_time:g} s), which no ejection is longer than"
        yield Problem((*key, "base_time"), what)
