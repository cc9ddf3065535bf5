"""The schema of [registry]: etcd, where workers register themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, PlainSerializer, PlainValidator

from edgenode.config.section import Section
from edgenode.config.values import (
    HOST_LABEL,
    Address,
    Duration,
    FilePath,
    PositiveDuration,
    parse_address,
)

_HOST = re.compile(rf"{HOST_LABEL}(\.{HOST_LABEL})*\.?")


@dataclass(frozen=True)
class EtcdUrl:
    """``http[s]://HOST:PORT``, as etcd's `--advertise-client-urls` has it."""

    host: str
    """A name or an address, IPv6 without brackets."""
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{host}:{self.port}"

    @property
    def address(self) -> Address | None:
        """The address, where it is none that DNS has to tell."""
        try:
            return parse_address(self.host)
        except ValueError:
            return None

    @classmethod
    def parse(cls, value: Any) -> EtcdUrl:
        """Raises ValueError with a sentence that says what would be right."""
        if isinstance(value, EtcdUrl):
            return value
        right = 'write "https://etcd1.example.net:2379": scheme, host and port, and nothing else'
        text = str(value)
        try:
            parts = urlsplit(text)
            port, host = parts.port, parts.hostname or ""
        except ValueError:
            raise ValueError(right) from None
        if not text.isprintable() or parts.scheme not in {"http", "https"} or not port:
            raise ValueError(right)
        if parts.username is not None or parts.path not in {"", "/"} or parts.query:
            raise ValueError(right)
        if ":" in host:
            host = str(parse_address(host))
        elif len(host) > 253 or not _HOST.fullmatch(host):
            raise ValueError(right)
        return cls(host, port, parts.scheme == "https")


EtcdUrlField = Annotated[
    EtcdUrl, PlainValidator(EtcdUrl.parse), PlainSerializer(str, return_type=str)
]


class Access(Section):
    """How etcd is reached: of an edge, and of a worker's host."""

    endpoints: tuple[EtcdUrlField, ...] = Field(min_length=1, max_length=16)
    """Members of one cluster; they are tried in turn."""
    prefix: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]{1,64}){1,8}$")] = "/edgenode"
    """Before every key; other fleets in the same etcd have others."""
    user: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    password_file: FilePath | None = None
    """Of the user: one line, readable by its owner alone."""
    ca_file: FilePath | None = None
    """Who signs etcd's certificates (PEM); absent: the system's authorities."""
    cert_file: FilePath | None = None
    """Our own certificate (PEM), where etcd wants one."""
    key_file: FilePath | None = None
    """Its key, readable by its owner alone."""
    timeout: Annotated[PositiveDuration, Field(le=60)] = 3.0
    """Seconds for one request to one endpoint."""


class Registry(Access):
    look_interval: Annotated[Duration, Field(ge=0.1, le=300)] = 5.0
    """Seconds between two looks that show that etcd answers, and that no event was missed."""
    linger: Annotated[Duration, Field(le=600)] = 10.0
    """Seconds that a worker stays whose record has gone although it was not draining."""
    hold: Annotated[Duration, Field(le=7 * 86400)] = 3600.0
    """Seconds that they stay where more than half of a region's records go at once, or of all."""
