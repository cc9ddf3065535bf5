"""The steering table: which service listens where, and which workers may serve it.

Control makes it, steering obeys it. Only healthy targets are in a table; regions are in order of
preference. All dataclasses are frozen: a table in use never changes, a new one replaces it.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Literal

ProxyProtocol = Literal["v2", "none"]
Address = IPv4Address | IPv6Address

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_DEVICE = re.compile(r"[^\s/:]{1,15}")  # IFNAMSIZ with its NUL is 16, see netdevice(7)


_repr = reprlib.Repr()
_repr.maxstring = 100


class TableError(ValueError):
    """The table is malformed; the message says where and why."""


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
    """A worker as one service reaches it: name, mesh address, TCP port."""

    worker: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class RegionTargets:
    """The healthy workers of one region."""

    region: str
    workers: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """One steered service; timeouts in seconds, `listen` as "host:port" or "[v6]:port"."""

    name: str
    listen: tuple[str, ...]
    proxy_protocol: ProxyProtocol
    connect_timeout: float
    idle_timeout: float
    regions: tuple[RegionTargets, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """All that steering needs to know."""

    revision: int
    node: str
    bind: Bind
    services: tuple[Service, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the table as a JSON object (for `json.dumps`)."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Table:
        """Check a parsed JSON value and return the table, addresses in their canonical text.

        Raises TableError. An unknown key is an error too: a table of a newer edgenode may mean by
        it something that must not be left out silently.
        """
        fields = _object(value, "table", {"revision", "node", "bind", "services"})
        services = tuple(
            service_from_json(item, f"services[{index}]")
            for index, item in enumerate(_list(fields["services"], "services"))
        )
        distinct([service.name for service in services], "services", "service")
        distinct([one for service in services for one in service.listen], "services", "address")
        return cls(
            revision=_integer(fields["revision"], "revision", 0, 2**63 - 1),
            node=_name(fields["node"], "node"),
            bind=_bind(fields["bind"]),
            services=services,
        )

    @property
    def listen(self) -> tuple[str, ...]:
        """The listen addresses of all services."""
        return tuple(one for service in self.services for one in service.listen)

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


def service_from_json(value: object, where: str) -> Service:
    """Check one service; `where` it stands is for the message. Raises TableError."""
    keys = {"name", "listen", "proxy_protocol", "connect_timeout", "idle_timeout", "regions"}
    fields = _object(value, where, keys)
    name = _name(fields["name"], f"{where}.name")
    where = f"{where} ({name})"
    regions = tuple(
        region_from_json(item, f"{where}.regions[{index}]")
        for index, item in enumerate(_list(fields["regions"], f"{where}.regions"))
    )
    distinct([region.region for region in regions], f"{where}.regions", "region")
    return Service(
        name=name,
        listen=tuple(
            _endpoint(item, f"{where}.listen[{index}]")
            for index, item in enumerate(_list(fields["listen"], f"{where}.listen"))
        ),
        proxy_protocol=_proxy_protocol(fields["proxy_protocol"], f"{where}.proxy_protocol"),
        connect_timeout=_seconds(fields["connect_timeout"], f"{where}.connect_timeout"),
        idle_timeout=_seconds(fields["idle_timeout"], f"{where}.idle_timeout"),
        regions=regions,
    )


def region_from_json(value: object, where: str) -> RegionTargets:
    """Check one region of a service, likewise."""
    fields = _object(value, where, {"region", "workers"})
    region = _name(fields["region"], f"{where}.region")
    where = f"{where} ({region})"
    workers = tuple(
        target_from_json(item, f"{where}.workers[{index}]")
        for index, item in enumerate(_list(fields["workers"], f"{where}.workers"))
    )
    distinct([target.worker for target in workers], f"{where}.workers", "worker")
    return RegionTargets(region, workers)


def target_from_json(value: object, where: str) -> Target:
    """Check one target, likewise."""
    fields = _object(value, where, {"worker", "address", "port"})
    return Target(
        worker=_name(fields["worker"], f"{where}.worker"),
        address=_address(fields["address"], f"{where}.address", None),
        port=_integer(fields["port"], f"{where}.port", 1, 65535),
    )


def _bind(value: object) -> Bind:
    fields = _object(value, "bind", {"device", "ipv4", "ipv6"})
    device, ipv4, ipv6 = fields["device"], fields["ipv4"], fields["ipv6"]
    if device is not None and not (isinstance(device, str) and _DEVICE.fullmatch(device)):
        raise TableError(f"bind.device: {shown(device)} is not the name of a network device")
    return Bind(
        device,
        None if ipv4 is None else _address(ipv4, "bind.ipv4", 4),
        None if ipv6 is None else _address(ipv6, "bind.ipv6", 6),
    )


def _object(value: object, where: str, keys: set[str]) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TableError(f"{where}: expected an object, got {_kind(value)}")
    for key in sorted(keys - value.keys()):
        raise TableError(f"{where}: the key {key!r} is missing")
    for key in value.keys() - keys:
        raise TableError(f"{where}: the key {shown(key)} is unknown")
    return value


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list | tuple):
        raise TableError(f"{where}: expected a list, got {_kind(value)}")
    return list(value)


def _name(value: object, where: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise TableError(
            f"{where}: {shown(value)} is not a name"
            " (a-z, then a-z, 0-9 and -; at most 31 characters)"
        )
    return value


def _endpoint(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise TableError(f"{where}: expected address:port, got {_kind(value)}")
    try:
        return join_endpoint(*split_endpoint(value))
    except ValueError as error:
        raise TableError(f"{where}: {error}") from None


def _address(value: object, where: str, version: int | None) -> str:
    family = f"IPv{version}" if version else "IP"
    try:
        address = ip_address(value) if isinstance(value, str) and "%" not in value else None
    except ValueError:
        address = None
    if address is None or (version and address.version != version):
        raise TableError(f"{where}: {shown(value)} is not an {family} address")
    return str(address)


def _proxy_protocol(value: object, where: str) -> ProxyProtocol:
    if value == "v2":
        return "v2"
    if value == "none":
        return "none"
    raise TableError(f"{where}: {shown(value)} is neither 'v2' nor 'none'")


def _integer(value: object, where: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise TableError(f"{where}: {shown(value)} is not a whole number between {low} and {high}")
    return value


def _seconds(value: object, where: str) -> float:
    # The upper bound (a year) keeps what is computed from it within what the kernel's timers take.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 31_536_000:
        raise TableError(f"{where}: {shown(value)} is not a time in seconds above 0")
    return float(value)


def shown(value: object) -> str:
    """The value as text for a message, shortened: it may be of any size and depth."""
    return _repr.repr(value)


def distinct(names: list[str], where: str, what: str) -> None:
    """Raises TableError if a name is there twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise TableError(f"{where}: the {what} {name} is there twice")
        seen.add(name)


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__
