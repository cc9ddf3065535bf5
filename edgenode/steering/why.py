"""Why a connection ends: what its line in the access log says, and what is counted by service."""

from __future__ import annotations

from enum import StrEnum


class Why(StrEnum):
    """All reasons. The names are the log's and the metrics': they stay as they are."""

    CLOSED = "closed"
    """Both ends have closed, and all bytes have been passed on."""
    CLIENT_RESET = "client-reset"
    """The user reset the connection, or was gone before a worker was found."""
    WORKER_RESET = "worker-reset"
    """The worker reset the connection."""
    CLIENT_SILENT = "client-silent"
    """The user's end answers nothing any more, keepalives neither."""
    WORKER_SILENT = "worker-silent"
    """The worker's end likewise: it has vanished, or the way there."""
    IDLE = "idle"
    """No byte moved for the service's `idle_timeout`."""
    TARGET_DIED = "target-died"
    """Probes have found its worker dead, and the service has `close_dead`."""
    STOPPED = "stopped"
    """Steering was stopped, or the relay worker lost its supervisor."""
    NO_REGION = "no-region"
    """No region was healthy for the service: nobody was tried."""
    NO_TARGET = "no-target"
    """All workers that could be tried have failed; the line's `errors` say how."""
    FULL = "full"
    """Some worker was left, but each had reached its hard limit, or its region's."""
    NO_HELLO = "no-hello"
    """The user closed without a byte, where a PROXY header or a TLS hello was awaited."""
    HELLO_TIMEOUT = "hello-timeout"
    """No whole TLS hello within `hello_timeout`."""
    BAD_HELLO = "bad-hello"
    """What began as TLS was no hello, or too long; the line's `errors` say what is wrong."""
    NO_ROUTE = "no-route"
    """No service of the address takes the name and protocol of the TLS hello, or what is no TLS."""
    NOT_DIRECT_TLS = "not-direct-tls"
    """A PostgreSQL client asked for TLS within its protocol, where the hello must come first."""
    HEADER_TIMEOUT = "header-timeout"
    """A proxy of `accept_proxy` sent no whole PROXY header within `hello_timeout`."""
    BAD_PROXY_HEADER = "bad-proxy-header"
    """What it sent was none; `errors` say what is wrong."""
    NO_PORTS = "no-ports"
    """No local port was free towards the last worker that could be tried."""
    NO_ROOM = "no-room"
    """This node had no descriptor or kernel memory left for it."""
    LOCAL_PROBE = "local-probe"
    """A connection of this node's own (a health check) ended without a byte. It has no line."""
    TOO_MANY_PROBES = "too-many-probes"
    """More of them than there are places for waited to say something."""
    DENIED = "denied"
    """The service's `deny` has the user's address."""
    NOT_ADMITTED = "not-admitted"
    """The service has an `allow` list, without the user's address."""
    SOURCE_FULL = "source-full"
    """The user's source had as many connections as `limits.per_source` says."""
    SERVICE_FULL = "service-full"
    """The service had as many connections as `limits.connections` says."""
    SOURCE_RATE = "source-rate"
    """The user's source has come more often than `limits.source_rate` says."""
    RATE = "rate"
    """More users have come than `limits.rate` says."""
    HALF_CLOSED = "half-closed"
    """One side had ended, and no byte of the other moved for the `half_closed_timeout`."""
    LIFETIME = "lifetime"
    """It was there for as long as the service's `lifetime` says."""


IN_ORDER = frozenset(
    {
        *(Why.CLOSED, Why.LOCAL_PROBE, Why.NO_HELLO),
        # These are told why: a reset might overtake that.
        *(Why.BAD_HELLO, Why.NO_ROUTE, Why.NOT_DIRECT_TLS),
    }
)
"""Both sides are closed with FIN; after any other reason with RST, since a FIN would tell the peer
that it has everything."""

ORDINARY = frozenset(
    {Why.CLOSED, Why.CLIENT_RESET, Why.CLIENT_SILENT, Why.IDLE, Why.HALF_CLOSED, Why.LIFETIME}
)
"""How sessions end of which nothing is wrong here: the lines of these may be sampled."""
