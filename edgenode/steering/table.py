"""The steering table: which service listens where, and which workers may serve it.

Control makes it, steering obeys it. Only healthy targets are in a table; regions are in order of
preference. All dataclasses are frozen: a table in use never changes, a new one replaces it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Literal, get_args

from edgenode.steering import checked, protection
from edgenode.steering.checked import TableError as TableError
from edgenode.steering.checked import distinct, shown
from edgenode.steering.policies import DEFAULT_DIALING as DEFAULT_DIALING
from edgenode.steering.policies import DEFAULT_LOGGING as DEFAULT_LOGGING
from edgenode.steering.policies import DEFAULT_OUTLIERS as DEFAULT_OUTLIERS
from edgenode.steering.policies import Dialing as Dialing
from edgenode.steering.policies import Logging as Logging
from edgenode.steering.policies import Outliers as Outliers
from edgenode.steering.policies import dialing_from_json, logging_from_json, outliers_from_json
from edgenode.steering.protection import UNPROTECTED, Protection
from edgenode.steering.sharing import clashes, is_protocol, is_server_name

ProxyProtocol = Literal["v2", "v1", "none"]
ProxyField = Literal["authority", "alpn", "unique-id", "crc32c"]
"""What a PROXY header, version 2, may tell beside the addresses (PP2_TYPE_…)."""
Address = IPv4Address | IPv6Address

_DEVICE = re.compile(r"[^\s/:]{1,15}")  # IFNAMSIZ with its NUL is 16, see netdevice(7)
HELLO_TIMEOUT = 5.0
MOST_WARM = 256
"""Connections that are kept ready, at most."""
_LATEST = 2.0**40  # Unix time of a far future, in which a float still counts milliseconds


@dataclass(frozen=True, slots=True)
class Bind:
    """What upstream sockets are bound to, so that steered traffic stays in the mesh.

    Without a device nothing is bound. With one, a family without an address is not dialed.
    """

    device: str | None = None
    ipv4: str | None = None
    ipv6: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A worker as one service reaches it: name, mesh address, TCP port.

    Limits are live connections from this node; None: none. `since`: when it came up, in Unix
    time, for slow start; 0: long ago.
    """

    worker: str
    address: str
    port: int
    weight: int = 1
    soft_limit: int | None = None
    hard_limit: int | None = None
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class RegionTargets:
    """The healthy workers of one region; limits are live connections from this node to all."""

    region: str
    workers: tuple[Target, ...]
    soft_limit: int | None = None
    hard_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One steered service; timeouts in seconds, `listen` as "host:port" or "[v6]:port".

    `slow_start`: seconds in which a target that came up is given its full share; 0: at once.
    `sni` and `alpn`: which TLS clients are meant, where several services share an address (see
    `routing`). `accept_proxy`: the prefixes from which a PROXY header is awaited. `hello_timeout`:
    until that and the TLS hello must have come. `proxy_tlvs`: what our own header tells.
    `hedge`: whether an attempt that is late is raced by another. `warm`: connections that each
    relay worker keeps ready. `client_first`: whether users speak before workers do. `dead`: targets
    by region that have died by control's probes, and of which the connections are to be closed.
    """

    name: str
    listen: tuple[str, ...]
    proxy_protocol: ProxyProtocol
    connect_timeout: float
    idle_timeout: float
    regions: tuple[RegionTargets, ...]
    slow_start: float = 0.0
    protection: Protection = UNPROTECTED
    sni: tuple[str, ...] = ()
    alpn: tuple[str, ...] = ()
    hello_timeout: float = HELLO_TIMEOUT
    accept_proxy: tuple[str, ...] = ()
    proxy_tlvs: tuple[ProxyField, ...] = ()
    hedge: bool = True
    warm: int = 0
    client_first: bool = False
    dead: tuple[RegionTargets, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """All that steering needs to know."""

    revision: int
    node: str
    bind: Bind
    services: tuple[Service, ...]
    outliers: Outliers = DEFAULT_OUTLIERS
    dialing: Dialing = DEFAULT_DIALING
    logging: Logging = DEFAULT_LOGGING

    def to_json(self) -> dict[str, Any]:
        """Return the table as a JSON object (for `json.dumps`).

        What has its default is left out: a steering that was not upgraded yet, which refuses
        keys that it does not know, takes each table that asks for nothing new.
        """
        value: dict[str, Any] = {
            "revision": self.revision,
            "node": self.node,
            "bind": asdict(self.bind),
            "services": [service_to_json(service) for service in self.services],
        }
        if self.outliers != DEFAULT_OUTLIERS:
            value["outliers"] = asdict(self.outliers)
        if self.dialing != DEFAULT_DIALING:
            value["dialing"] = asdict(self.dialing)
        if self.logging != DEFAULT_LOGGING:
            value["logging"] = asdict(self.logging)
        return value

    @classmethod
    def from_json(cls, value: object) -> Table:
        """Check a parsed JSON value and return the table, addresses in their canonical text.

        Raises TableError. A key that an older edgenode did not know may be missing. An unknown one
        is an error: a table of a newer edgenode may mean by it something that must not be left out
        silently.
        """
        keys = {"revision", "node", "bind", "services"}
        fields = checked.mapping(value, "table", keys, {"outliers", "dialing", "logging"})
        services = tuple(
            service_from_json(item, f"services[{index}]")
            for index, item in enumerate(checked.listing(fields["services"], "services"))
        )
        distinct([service.name for service in services], "services", "service")
        check_listeners(services)
        return cls(
            revision=checked.integer(fields["revision"], "revision", 0, 2**63 - 1),
            node=checked.name(fields["node"], "node"),
            bind=_bind(fields["bind"]),
            services=services,
            outliers=outliers_from_json(fields["outliers"])
            if "outliers" in fields
            else DEFAULT_OUTLIERS,
            dialing=dialing_from_json(fields["dialing"])
            if "dialing" in fields
            else DEFAULT_DIALING,
            logging=logging_from_json(fields["logging"])
            if "logging" in fields
            else DEFAULT_LOGGING,
        )

    @property
    def listen(self) -> tuple[str, ...]:
        """The listen addresses of all services, each once."""
        return tuple(dict.fromkeys(one for service in self.services for one in service.listen))

    @property
    def targets(self) -> set[tuple[str, str]]:
        """Region and worker of all targets."""
        return {
            (region.region, target.worker)
            for service in self.services
            for region in service.regions
            for target in region.workers
        }


def split_endpoint(text: str) -> tuple[Address, int]:
    """Split "192.0.2.1:80" or "[2001:db8::1]:80". Raises ValueError."""
    host, separator, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    address = ip_address(host[1:-1] if bracketed else host)
    if not separator or bracketed != (address.version == 6) or "%" in host:
        raise ValueError(f"{text!r} is not address:port or [address]:port")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"port {port!r} is not between 1 and 65535")
    return address, int(port)


def join_endpoint(address: Address, port: int) -> str:
    """The inverse of `split_endpoint`."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def check_listeners(services: Sequence[Service]) -> None:
    """Raises TableError where services listen on one address that it does not tell apart."""
    for service in services:
        distinct(list(service.listen), f"services ({service.name}).listen", "address")
    for clash in clashes(services):
        raise TableError(f"services ({services[clash.second].name}).{clash.key}: {clash.what}")


_LIMITS: Mapping[str, object] = {"soft_limit": None, "hard_limit": None}
_TARGET: Mapping[str, object] = {"weight": 1, **_LIMITS, "since": 0.0}
_SERVICE: Mapping[str, object] = {
    "slow_start": 0.0,
    "hedge": True,
    "warm": 0,
    "client_first": False,
    "sni": (),
    "alpn": (),
    "hello_timeout": HELLO_TIMEOUT,
    "accept_proxy": (),
    "proxy_tlvs": (),
}
"""Keys that may be missing, with what they are then."""


def service_to_json(service: Service) -> dict[str, Any]:
    """The inverse of `service_from_json`."""
    value: dict[str, Any] = {
        "name": service.name,
        "listen": list(service.listen),
        "proxy_protocol": service.proxy_protocol,
        "connect_timeout": service.connect_timeout,
        "idle_timeout": service.idle_timeout,
        "regions": [region_to_json(region) for region in service.regions],
    }
    value |= _asked(service, _SERVICE)
    if service.dead:
        value["dead"] = [region_to_json(region) for region in service.dead]
    if service.protection != UNPROTECTED:
        value["protection"] = protection.to_json(service.protection)
    return value


def region_to_json(region: RegionTargets) -> dict[str, Any]:
    """The inverse of `region_from_json`."""
    value: dict[str, Any] = {
        "region": region.region,
        "workers": [target_to_json(target) for target in region.workers],
    }
    return value | _asked(region, _LIMITS)


def target_to_json(target: Target) -> dict[str, Any]:
    """The inverse of `target_from_json`."""
    value = {"worker": target.worker, "address": target.address, "port": target.port}
    return value | _asked(target, _TARGET)


def _asked(item: object, defaults: Mapping[str, object]) -> dict[str, Any]:
    """What differs from its default."""
    found = ((key, getattr(item, key)) for key in defaults)
    return {key: value for key, value in found if value != defaults[key]}


def service_from_json(value: object, where: str) -> Service:
    """Check one service; `where` it stands is for the message. Raises TableError."""
    keys = {"name", "listen", "proxy_protocol", "connect_timeout", "idle_timeout", "regions"}
    optional = {*_SERVICE, "protection", "dead"}
    fields = {**_SERVICE, **checked.mapping(value, where, keys, optional)}
    name = checked.name(fields["name"], f"{where}.name")
    where = f"{where} ({name})"
    return Service(
        name=name,
        listen=tuple(
            _endpoint(item, f"{where}.listen[{index}]")
            for index, item in enumerate(checked.listing(fields["listen"], f"{where}.listen"))
        ),
        proxy_protocol=_proxy_protocol(fields["proxy_protocol"], f"{where}.proxy_protocol"),
        connect_timeout=checked.seconds(fields["connect_timeout"], f"{where}.connect_timeout"),
        idle_timeout=checked.seconds(fields["idle_timeout"], f"{where}.idle_timeout"),
        regions=_regions(fields["regions"], f"{where}.regions"),
        slow_start=checked.number(fields["slow_start"], f"{where}.slow_start", checked.YEAR),
        sni=checked.texts(fields["sni"], f"{where}.sni", is_server_name, "a server name"),
        alpn=checked.texts(fields["alpn"], f"{where}.alpn", is_protocol, "a protocol's name"),
        hello_timeout=checked.seconds(fields["hello_timeout"], f"{where}.hello_timeout"),
        accept_proxy=checked.texts(
            fields["accept_proxy"], f"{where}.accept_proxy", checked.is_prefix, "a prefix"
        ),
        hedge=checked.flag(fields["hedge"], f"{where}.hedge"),
        warm=checked.integer(fields["warm"], f"{where}.warm", 0, MOST_WARM),
        client_first=checked.flag(fields["client_first"], f"{where}.client_first"),
        protection=protection.from_json(fields.get("protection", {}), f"{where}.protection"),
        proxy_tlvs=_proxy_tlvs(fields["proxy_tlvs"], f"{where}.proxy_tlvs"),
        dead=_regions(fields.get("dead", []), f"{where}.dead"),
    )


def _regions(value: object, where: str) -> tuple[RegionTargets, ...]:
    regions = tuple(
        region_from_json(item, f"{where}[{index}]")
        for index, item in enumerate(checked.listing(value, where))
    )
    distinct([region.region for region in regions], where, "region")
    return regions


def region_from_json(value: object, where: str) -> RegionTargets:
    """Check one region of a service, likewise."""
    fields = checked.mapping(value, where, {"region", "workers"}, _LIMITS.keys())
    region = checked.name(fields["region"], f"{where}.region")
    where = f"{where} ({region})"
    workers = tuple(
        target_from_json(item, f"{where}.workers[{index}]")
        for index, item in enumerate(checked.listing(fields["workers"], f"{where}.workers"))
    )
    distinct([target.worker for target in workers], f"{where}.workers", "worker")
    return RegionTargets(region, workers, *_limits(fields, where))


def target_from_json(value: object, where: str) -> Target:
    """Check one target, likewise."""
    fields = checked.mapping(value, where, {"worker", "address", "port"}, _TARGET.keys())
    soft_limit, hard_limit = _limits(fields, where)
    return Target(
        worker=checked.name(fields["worker"], f"{where}.worker"),
        address=checked.address(fields["address"], f"{where}.address", None),
        port=checked.integer(fields["port"], f"{where}.port", 1, 65535),
        weight=checked.integer(fields.get("weight", 1), f"{where}.weight", 1, 1000),
        soft_limit=soft_limit,
        hard_limit=hard_limit,
        since=checked.number(fields.get("since", 0.0), f"{where}.since", _LATEST),
    )


def _limits(fields: Mapping[str, object], where: str) -> tuple[int | None, int | None]:
    soft, hard = (
        None
        if fields.get(key) is None
        else checked.integer(fields[key], f"{where}.{key}", 1, 2**31 - 1)
        for key in _LIMITS
    )
    if soft is not None and hard is not None and soft > hard:
        raise TableError(f"{where}: the soft_limit {soft} is above hard_limit {hard}")
    return soft, hard


def _bind(value: object) -> Bind:
    fields = checked.mapping(value, "bind", {"device", "ipv4", "ipv6"})
    device, ipv4, ipv6 = fields["device"], fields["ipv4"], fields["ipv6"]
    if device is not None and not (isinstance(device, str) and _DEVICE.fullmatch(device)):
        raise TableError(f"bind.device: {shown(device)} is not the name of a network device")
    return Bind(
        device,
        None if ipv4 is None else checked.address(ipv4, "bind.ipv4", 4),
        None if ipv6 is None else checked.address(ipv6, "bind.ipv6", 6),
    )


def _endpoint(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise TableError(f"{where}: expected address:port, got {checked.kind(value)}")
    try:
        return join_endpoint(*split_endpoint(value))
    except ValueError as error:
        raise TableError(f"{where}: {error}") from None


def _proxy_protocol(value: object, where: str) -> ProxyProtocol:
    for known in get_args(ProxyProtocol):
        if value == known:
            return known  # type: ignore[no-any-return]
    raise TableError(f"{where}: {shown(value)} is neither 'v2', 'v1' nor 'none'")


def _proxy_tlvs(value: object, where: str) -> tuple[ProxyField, ...]:
    known = {name: name for name in get_args(ProxyField)}
    return tuple(known[name] for name in checked.texts(value, where, known.__contains__, "known"))
