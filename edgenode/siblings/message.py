"""What an edge tells its siblings: datagrams of JSON, small and bounded both ways. Pure.

One datagram fits into IPv6's least MTU (1,280 bytes, RFC 8200) without its headers, so none is
ever cut into fragments. Each stands for itself: where a node has more services than fit, further
ones carry the rest. Keys that are not known are passed over, so that a newer edge may say more; a
form that older ones would misread gets another version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from edgenode.config.section import Section
from edgenode.config.values import AddressField, Name
from edgenode.regions.evidence import ServiceStands
from edgenode.registry.revision import Revision

VERSION: Literal[1] = 1
MAX_DATAGRAM = 1232
MAX_DATAGRAMS = 32
"""Of one message. Services that do not fit into them are not told, and count as unknown."""
MOST = 2**53
"""Whole numbers up to here are the same in every language's JSON."""

Whole = Annotated[int, Field(strict=True, ge=0, le=MOST)]
Seconds = Annotated[float, Field(ge=0, le=MOST, allow_inf_nan=False)]
Workers = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]


class MessageError(ValueError):
    """A datagram is no message; the text says why, in words that are safe to print."""


class _Part(Section):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Standing(_Part):
    """A service, as the sender sees it."""

    name: Name
    reachable: Annotated[bool, Field(strict=True)] | None
    silent: Seconds | None = None
    """Seconds since a worker last answered, where one does."""
    regions: dict[Name, tuple[Workers, Workers]] = Field(default_factory=dict, max_length=64)
    """By region: how many workers are up, and how many down."""


class Served(_Part):
    """The state of the registry that the sender steers by."""

    kind: Literal["config", "etcd"]
    number: Whole | None = None
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")]
    age: Seconds = 0.0


class Message(_Part):
    """One datagram."""

    v: Literal[1] = VERSION
    node: Name
    boot: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """Of the sender's process: another one is another process, and perhaps another node."""
    key: Annotated[str, Field(pattern=r"^([A-Za-z0-9+/]{43}=)?$")] = ""
    """The node's public key of WireGuard; empty while it is not known."""
    mesh: Annotated[tuple[AddressField, ...], Field(min_length=1, max_length=2)]
    number: Whole
    """Rises with each message of a process; the datagrams of one have the same."""
    at: Seconds
    """By the sender's monotonic clock: tells by how much longer than usual it took."""
    table: Whole | None = None
    """Revision of the steering table in force."""
    registry: Served | None = None
    services: Annotated[tuple[Standing, ...], Field(max_length=64)] = ()


@dataclass(frozen=True)
class Identity:
    """Who speaks."""

    node: str
    boot: str
    mesh: tuple[str, ...]
    key: str = ""


@dataclass(frozen=True)
class Telling:
    """What there is to tell; times by the node's own monotonic clock."""

    services: Mapping[str, ServiceStands]
    table: int | None = None
    registry: Revision | None = None


def decode(datagram: bytes) -> Message:
    """Raises MessageError."""
    if len(datagram) > MAX_DATAGRAM:
        raise MessageError(f"it has more than {MAX_DATAGRAM} bytes")
    try:
        return Message.model_validate_json(datagram)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise MessageError("it is no JSON") from None
        # Names below the first may be anything that the sender wrote.
        where = str(first["loc"][0]) if first["loc"] else "it"
        if where == "v":
            raise MessageError(f"its version is not {VERSION}: run the same edgenode") from None
        raise MessageError(f"{where} is wrong ({first['type']})") from None


def encode(identity: Identity, telling: Telling, number: int, now: float) -> list[bytes]:
    """The datagrams of one message."""
    head = {
        "v": VERSION,
        "node": identity.node,
        "boot": identity.boot,
        "key": identity.key,
        "mesh": identity.mesh,
        "number": number,
        "at": round(now, 3),
        "table": telling.table,
        "registry": telling.registry.to_json() if telling.registry else None,
    }
    start = _json(head)[:-1] + b',"services":['
    room = MAX_DATAGRAM - len(start) - len(b"]}")
    services = (_service(name, it, now, room) for name, it in telling.services.items())
    parts = list(_packed(services, room)) or [b""]
    return [start + part + b"]}" for part in parts[:MAX_DATAGRAMS]]


def _packed(services: Iterable[bytes], room: int) -> Iterator[bytes]:
    part = b""
    for service in services:
        if part and len(part) + len(service) + 1 > room:
            yield part
            part = b""
        part = part + b"," + service if part else service
    if part:
        yield part


def _service(name: str, stands: ServiceStands, now: float, room: int) -> bytes:
    """With as many of its regions as there is room for, those that are down first."""
    silent = round(max(0.0, now - stands.answered), 2) if stands.reachable else None
    told: dict[str, Any] = {"name": name, "reachable": stands.reachable, "silent": silent}
    whole = len(_json({**told, "regions": {}}))
    regions: dict[str, tuple[int, int]] = {}
    for region in sorted(stands.regions, key=lambda each: (each.up > 0, each.name)):
        counts = (region.up, region.down)
        whole += len(_json({region.name: counts})) - 1
        if whole > room:
            break
        regions[region.name] = counts
    return _json({**told, "regions": regions})


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()
