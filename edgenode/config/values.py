"""Value types of the configuration: durations, endpoints, names, URLs of probes."""

from __future__ import annotations

import base64
import binascii
import math
import re
from dataclasses import dataclass
from functools import cached_property
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator

from edgenode.steering.sharing import is_protocol, is_server_name

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: Any) -> float:
    """Seconds from a number or from text such as ``"250ms"``, ``"3s"``, ``"1m30s"``.

    Raises ValueError with a sentence that says what would be right.
    """
    right = 'write a duration such as "250ms", "3s", "5m" or a number of seconds'
    if isinstance(value, bool):
        raise ValueError(right)
    if isinstance(value, int | float):
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
    else:
        text = str(value).strip()
        parts = _DURATION.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError(right)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 <= seconds <= 365 * 86400:
        raise ValueError(f"{right}, between 0 and a year")
    return seconds


Duration = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds."""

PositiveDuration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0.001)]
"""Seconds, at least one millisecond."""

Interval = Annotated[float, BeforeValidator(parse_duration), Field(ge=0.01)]
"""Seconds between probes, at least ten milliseconds: more often is a load, not a check."""

Name = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9-]{0,30}$", description="a-z, 0-9 and '-', a letter first"),
]
"""No underscore: ``-`` → ``_`` then makes BIRD symbols that cannot collide."""

InterfaceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$")]
"""IFNAMSIZ is 16 with its end; characters that need no escape anywhere."""


def _path(value: Path) -> Path:
    if "\0" in str(value):
        raise ValueError("a path has no NUL in it")
    if not value.is_absolute():
        raise ValueError("it is relative, and to what would depend on who asks: write it from /")
    return value


FilePath = Annotated[Path, AfterValidator(_path)]

PLAIN_FILE_NAME = re.compile(r"[A-Za-z0-9_.+-]+")
"""What BIRD's parser takes between quotes with no escape."""

PLAIN_PATH = re.compile(r"[A-Za-z0-9_.+/-]{1,255}")
"""Likewise; and a command of BIRD's control socket has room for it."""

_RESERVED_ASNS = {
    0: "RFC 7607",
    23456: "AS_TRANS, RFC 6793",
    65535: "RFC 7300",
    4294967295: "RFC 7300",
}


def _asn(value: int) -> int:
    if reserved := _RESERVED_ASNS.get(value):
        raise ValueError(f"this AS number is reserved and nobody's ({reserved})")
    return value


Asn = Annotated[int, Field(strict=True, ge=0, le=4294967295), AfterValidator(_asn)]


def parse_served_ports(value: str) -> str:
    """``"tcp/80"``, ``"udp/53"``, ``"tcp/8000-8100"``. Raises ValueError."""
    match = re.fullmatch(r"(tcp|udp)/(\d{1,5})(?:-(\d{1,5}))?", value)
    if match:
        first = int(match[2])
        last = int(match[3] or first)
        if 1 <= first <= last <= 65535:
            return f"{match[1]}/{first}" + (f"-{last}" if last > first else "")
    raise ValueError('write "tcp/80", "udp/53" or a range such as "tcp/8000-8100"')


ServedPorts = Annotated[str, AfterValidator(parse_served_ports)]


def parse_address(value: Any) -> Address:
    """Raises ValueError with a sentence that says what would be right."""
    if isinstance(value, IPv4Address | IPv6Address):
        address = value
    else:
        try:
            address = ip_address(value if isinstance(value, str) else "")
        except ValueError:
            raise ValueError('write an address such as "192.0.2.1" or "2001:db8::1"') from None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise ValueError(
            "an address with a zone (%...), which is link-local, cannot be used: write a global "
            "or a unique-local one (fc00::/7)"
        )
    return address


def parse_network(value: Any) -> Network:
    """Raises ValueError with a sentence that says what would be right."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    text = value if isinstance(value, str) else ""
    try:
        loose = ip_network(text, strict=False)
    except ValueError:
        raise ValueError('write a prefix such as "192.0.2.0/24" or "2001:db8::/32"') from None
    if "/" not in text:
        raise ValueError(f'a prefix has a length: write "{loose}" if the host is meant')
    if ip_address(text.partition("/")[0]) != loose.network_address:
        raise ValueError(f'"{text}" has bits set behind its length: write "{loose}"')
    return loose


def parse_router_id(value: Any) -> IPv4Address:
    """Raises ValueError with a sentence that says what would be right."""
    address = parse_address(value)
    if not isinstance(address, IPv4Address):
        raise ValueError("a router's id has the form of an IPv4 address (RFC 6286)")
    return address


RouterId = Annotated[
    IPv4Address, PlainValidator(parse_router_id), PlainSerializer(str, return_type=str)
]
AddressField = Annotated[
    Address, PlainValidator(parse_address), PlainSerializer(str, return_type=str)
]
NetworkField = Annotated[
    Network, PlainValidator(parse_network), PlainSerializer(str, return_type=str)
]


@dataclass(frozen=True, order=True)
class Endpoint:
    """An address and a TCP or UDP port; ``str()`` gives the text of the configuration back."""

    host: Address
    port: int

    def __str__(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}" if self.host.version == 6 else f"{host}:{port}"

    @cached_property
    def address(self) -> tuple[str, int]:
        """As the socket module takes it; made once, since probes want it all the time."""
        return str(self.host), self.port

    @classmethod
    def parse(cls, value: Any) -> Endpoint:
        """From ``"192.0.2.1:80"`` or ``"[2001:db8::1]:80"``. Raises ValueError."""
        if isinstance(value, Endpoint):
            return value
        right = 'write "192.0.2.1:80" or "[2001:db8::1]:80"'
        match = re.fullmatch(r"\[([0-9a-fA-F:.]+)\]:(\d{1,5})|([0-9.]+):(\d{1,5})", str(value))
        if not match:
            raise ValueError(right)
        try:
            host = ip_address(match[1] or match[3])
        except ValueError:
            raise ValueError(right) from None
        port = int(match[2] or match[4])
        if not 1 <= port <= 65535:
            raise ValueError("a port is between 1 and 65535")
        return cls(host, port)


EndpointField = Annotated[
    Endpoint, PlainValidator(Endpoint.parse), PlainSerializer(str, return_type=str)
]


HOST_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
"""A regular expression, in lower case."""

_HOST_NAME = re.compile(rf"({HOST_LABEL}\.)*(?!(\d+|0x[\da-f]*)\.?$){HOST_LABEL}\.?")
"""RFC 1123, section 2.1; the last label is no number, so that no address is taken for a name:
a resolver takes 0x7f000001 for 127.0.0.1 (inet_aton(3))."""


@dataclass(frozen=True, order=True)
class NamedEndpoint:
    """A host's name and a UDP port; ``str()`` gives the text of the configuration back."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


def parse_mesh_endpoint(value: Any) -> Endpoint | NamedEndpoint:
    """An endpoint by address or by name: ``"fra1.example.net:51820"``. Raises ValueError."""
    if isinstance(value, Endpoint | NamedEndpoint):
        return value
    right = 'write "192.0.2.1:51820", "[2001:db8::1]:51820" or "fra1.example.net:51820"'
    name, colon, port = str(value).lower().rpartition(":")
    if not colon or name.startswith("[") or re.fullmatch(r"[\d.]+", name):
        try:
            return Endpoint.parse(value)
        except ValueError as error:
            raise ValueError(right if "write" in str(error) else str(error)) from None
    if not _HOST_NAME.fullmatch(name) or len(name) > 253 or not re.fullmatch(r"\d{1,5}", port):
        raise ValueError(right)
    if not 1 <= int(port) <= 65535:
        raise ValueError("a port is between 1 and 65535")
    return NamedEndpoint(name, int(port))


MeshEndpointField = Annotated[
    Endpoint | NamedEndpoint,
    PlainValidator(parse_mesh_endpoint),
    PlainSerializer(str, return_type=str),
]


_HOST_ADDRESS = re.compile(r"\d+(\.\d+){3}")


def parse_server_name(value: str) -> str:
    """``"www.example.net"`` or ``"*.example.net"``, in lower case. Raises ValueError."""
    name = value.lower().removesuffix(".")
    if _HOST_ADDRESS.fullmatch(name):
        raise ValueError("a client sends no address as a name (RFC 6066, section 3)")
    if not is_server_name(name):
        raise ValueError(
            'write a host\'s name such as "www.example.net", or "*.example.net" for all below it '
            "(others than ASCII in their xn-- form); leave `sni` out for all names"
        )
    return name


def parse_protocol_name(value: str) -> str:
    """``"h2"``. Raises ValueError."""
    if not is_protocol(value):
        raise ValueError('write a protocol as clients name it in ALPN, such as "h2"')
    return value


ServerName = Annotated[str, AfterValidator(parse_server_name)]
ProtocolName = Annotated[str, AfterValidator(parse_protocol_name)]


KEY_BYTES = 32


def decode_key(text: str) -> bytes:
    """The 32 bytes of a WireGuard key in canonical base64. Raises ValueError without the text."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES or base64.b64encode(raw).decode() != text:
        raise ValueError("a WireGuard key is 44 characters of base64 that stand for 32 bytes")
    return raw


@dataclass(frozen=True)
class ProbeUrl:
    """``http[s]://ADDRESS[:PORT]/path`` of a probe: an address, so that none waits for DNS."""

    endpoint: Endpoint
    target: str
    """Path and query, as it goes into the request line."""
    tls: bool = False

    def __str__(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.endpoint}{self.target}"

    @classmethod
    def parse(cls, value: Any) -> ProbeUrl:
        """Raises ValueError with a sentence that says what would be right."""
        if isinstance(value, ProbeUrl):
            return value
        right = 'write "http://192.0.2.1/health": an address and not a name, `host` gives the name'
        text = str(value)
        try:
            parts = urlsplit(text)
            port = parts.port
            host = ip_address(parts.hostname or "")
        except ValueError:
            raise ValueError(right) from None
        if port is None:
            port = 443 if parts.scheme == "https" else 80
        if port == 0:
            raise ValueError("a port is between 1 and 65535")
        parse_address(host)  # no zone
        if not text.isprintable():  # urlsplit drops line breaks and tabs without a word
            raise ValueError(right)
        if parts.scheme not in {"http", "https"} or parts.username is not None or parts.fragment:
            raise ValueError(right)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not re.fullmatch(r"[\x21-\x7e]+", target):
            raise ValueError("path and query are printable ASCII, percent-encoded where needed")
        return cls(Endpoint(host, port), target, parts.scheme == "https")


ProbeUrlField = Annotated[
    ProbeUrl, PlainValidator(ProbeUrl.parse), PlainSerializer(str, return_type=str)
]
