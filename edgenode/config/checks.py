"""The schema of checks, and of the hooks that run when one of them, or a group, changes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from edgenode.config import dnsvalues
from edgenode.config.patterns import Pattern
from edgenode.config.section import Argument, Count, Flag, Section
from edgenode.config.values import (
    Duration,
    EndpointField,
    FilePath,
    Interval,
    Name,
    PositiveDuration,
    ProbeUrlField,
)

HttpStatus = Annotated[int, Field(strict=True, ge=100, le=599)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
"""A token: RFC 9110, 5.6.2."""
HeaderValue = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,255}$")]
ServerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?$")]
"""A DNS name or an address, as it stands in a certificate."""
Substring = Annotated[str, Field(min_length=1, max_length=4096)]


class CheckBase(Section):
    name: Name
    interval: Interval = 1.0
    fast_interval: Interval | None = None
    """While in doubt: the last results speak against the present state. Absent: `interval`."""
    jitter: Annotated[float, Field(strict=True, ge=0, le=0.5)] = 0.1
    """Share of the interval by which each probe is moved at random."""
    timeout: PositiveDuration = 0.5
    rise: Count = 2
    fall: Count = 3
    initial: Literal["unknown", "up", "down"] = "unknown"
    """What it counts as before its first results: "unknown" keeps a group as it is found."""


class SocketCheckBase(CheckBase):
    tripwire: Flag = True
    """Hold an idle connection to the target, and look at once when it breaks."""
    restart_grace: Duration = 0.0
    """Seconds for which a refused connection is waited out after the tripwire fired."""


class TlsOptions(Section):
    server_name: ServerName | None = None
    """The name that is asked for (SNI) and must be in the certificate."""
    ca_file: FilePath | None = None
    """Certificates (PEM) that may have signed it. Absent: those that the system trusts."""
    client_certificate: FilePath | None = None
    """Ours (PEM), with its chain."""
    client_key: FilePath | None = None
    """Its private key (PEM, not encrypted), readable by its owner alone."""
    insecure: Flag = False
    """Take any certificate, by whomever signed and for whatever name."""
    expiry_warning: Duration = 14 * 86400.0
    """Seconds before a certificate's end from which on there is a warning; 0: none before."""


class Match(Section):
    """What a text must have: one of the two."""

    contains: Substring | None = None
    regex: Pattern | None = None
    """In RE2's syntax (no look-around, no back-references), found anywhere; "^", "$": of a line."""


class HeaderMatch(Match):
    """What a header of the answer must have; with neither of the two it must be there."""

    name: HeaderName


class TcpCheck(SocketCheckBase):
    type: Literal["tcp"]
    target: EndpointField


class TlsCheck(SocketCheckBase, TlsOptions):
    type: Literal["tls"]
    target: EndpointField
    timeout: PositiveDuration = 1.0


class HttpCheck(SocketCheckBase, TlsOptions):
    type: Literal["http"]
    url: ProbeUrlField
    unix_socket: FilePath | None = None
    """A Unix socket to connect to, instead of the URL's address."""
    host: HeaderValue | None = None
    """The Host header; absent: the address of the URL."""
    status: tuple[HttpStatus, ...] = Field((200,), min_length=1)
    headers: tuple[HeaderMatch, ...] = ()
    """All of them must match, each in one of the headers of its name."""
    body: Match | None = None
    """Looked for in the first 64 KiB."""


class DnsCheck(SocketCheckBase):
    type: Literal["dns"]
    target: EndpointField
    transport: Literal["udp", "tcp"] = "udp"
    """An answer that is cut off over UDP is asked for again over TCP, as resolvers do."""
    query: Annotated[str, AfterValidator(dnsvalues.name)]
    record: Annotated[str, AfterValidator(dnsvalues.record_type)] = "A"
    rcode: Annotated[str, AfterValidator(dnsvalues.rcode)] = "NOERROR"
    answers: tuple[str, ...] = ()
    """Each must be among the answer's records of the type, as in a zone file."""
    recursion: Flag = False
    """Ask for recursion (RD): for a resolver."""
    tripwire: Flag = False
    """Hold an idle TCP connection: only where the server listens on TCP, too."""


class ExecCheck(CheckBase):
    type: Literal["exec"]
    command: tuple[Argument, ...] = Field(min_length=1)
    """Program and arguments, no shell. `edgenode exec-runner` runs it."""
    on_warning: Literal["up", "down"] = "up"
    """What exit status 1 is: up with a warning, or down."""
    on_unknown: Literal["keep", "down"] = "keep"
    """What exit status 3 is: no verdict (for 30 s, or three rounds, at most), or down."""
    timeout: PositiveDuration = 5.0


Check = Annotated[
    TcpCheck | TlsCheck | HttpCheck | DnsCheck | ExecCheck, Field(discriminator="type")
]


class Hook(Section):
    """A command that is run when something changes."""

    name: Name
    on: tuple[Literal["check", "group"], ...] = Field(("check", "group"), min_length=1)
    only: tuple[Name, ...] = ()
    """Names of checks and groups; empty: all of them."""
    command: tuple[Argument, ...] = Field(min_length=1)
    """Program and arguments, no shell. `edgenode exec-runner` runs it."""
    timeout: PositiveDuration = 10.0
