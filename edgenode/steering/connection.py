"""A user's connection and its two sides. Plain state, no behaviour.

The objects never point at each other in a ring (a side finds its peer by descriptor): the relay
runs without the garbage collector.
"""

from __future__ import annotations

from enum import Enum, auto

from edgenode.steering.admission import OUTSIDE, Guard
from edgenode.steering.counters import Meter, ServiceCount
from edgenode.steering.dial import Attempt, Dial
from edgenode.steering.hello import Reader
from edgenode.steering.sysio import Pipe
from edgenode.steering.table import Bind, Service
from edgenode.steering.timers import Timed
from edgenode.steering.why import Why

CHUNK = 16 * 1024


class Phase(Enum):
    WAITING = auto()  # from this node itself: dialed when its first bytes come
    PREFACE = auto()  # a PROXY header or a TLS hello is awaited
    DIALING = auto()
    LIVE = auto()
    CLOSED = auto()


class Route:
    """What a connection needs to know of the table it was accepted under; never changed.

    Beside the service are those parts of it that each connection is asked about.
    """

    __slots__ = (
        "bind",
        "count",
        "guard",
        "half_closed_timeout",
        "idle_timeout",
        "lifetime",
        "name",
        "service",
    )

    def __init__(
        self, service: Service, count: ServiceCount, bind: Bind, guard: Guard | None = None
    ) -> None:
        self.service = service
        self.count = count
        self.bind = bind
        self.guard = guard
        self.name = service.name
        self.idle_timeout = service.idle_timeout
        self.half_closed_timeout = service.protection.half_closed_timeout
        self.lifetime = service.protection.lifetime


class Side:
    """One of the two sockets, and the bytes that flow from it to the other."""

    __slots__ = (
        "broken",
        "bulk",
        "chunk",
        "connection",
        "end_passed",
        "ended",
        "eof",
        "failed",
        "fd",
        "held",
        "meter",
        "moved",
        "peer_fd",
        "pipe",
        "piped",
        "queued",
        "stuck",
        "urgent",
        "watched",
        "watches_output",
    )

    def __init__(
        self,
        fd: int,
        peer_fd: int,
        connection: Connection,
        meter: Meter,
        watched: bool = False,
        watches_output: bool = False,
    ) -> None:
        self.fd = fd
        self.peer_fd = peer_fd
        self.connection = connection
        self.meter = meter
        # Bytes of this side that the other's kernel has taken; below 0: so many are still to go of
        # the header in front of them.
        self.moved = 0
        # Bytes read here that the other side has not taken: at most one chunk, or a pipe's.
        self.held = b""
        self.stuck = 0  # of these and those in a pipe, what `Loop.stuck` counts
        self.chunk = CHUNK  # how much to read at once
        self.bulk = False  # much has been read at once: it goes through a pipe, if there is one
        self.pipe: Pipe | None = None  # where they are instead, if it is bulk
        self.piped = 0  # how many
        self.watched = watched  # registered with epoll
        self.watches_output = watches_output  # and for output too
        self.queued = False  # it waits for its turn, see `Flow.unfinished`
        self.urgent = False  # urgent data was told of: a read ends before it, though more is there
        self.ended = False  # an event has told of the end; it tells only once
        self.failed = False  # an event has told of an error: it will not end in order
        self.eof = False  # the end has been read
        self.end_passed = False  # and passed on to the other side
        self.broken = False  # a write to this side has failed: what it still sends is passed on


class Awaited:
    """What a connection stands at the door of a listen address for (see `preface`)."""

    __slots__ = ("due", "hello", "introduced", "listen")

    def __init__(self, listen: str) -> None:
        self.listen = listen
        self.due = 0.0  # until then
        self.introduced = False  # no PROXY header is awaited, or not any more
        self.hello: Reader | None = None  # made anew of what is held, where it is missing


class Connection(Timed):
    """Times are of the monotonic clock, in seconds."""

    __slots__ = (
        "active",
        "alpn",
        "attempt",
        "attempts",
        "awaited",
        "bytes_down",
        "bytes_up",
        "client",
        "client_fd",
        "connected",
        "dial",
        "dialed",
        "errors",
        "half_closed",
        "header_size",
        "local",
        "number",
        "peer",
        "phase",
        "reset",
        "reset_at",
        "retransmits",
        "rival",
        "rival_fd",
        "route",
        "rtt",
        "sni",
        "source",
        "started",
        "unique_id",
        "worker_fd",
    )

    def __init__(
        self,
        number: int,
        route: Route,
        client: tuple[str, int],
        local: tuple[str, int],
        client_fd: int,
        started: float,
        active: float,
        phase: Phase = Phase.WAITING,
        worker_fd: int = -1,
        source: int = OUTSIDE,
    ) -> None:
        super().__init__()
        self.number = number
        self.route = route
        self.client = client
        self.local = local
        self.client_fd = client_fd
        self.started = started
        self.active = active  # when bytes last moved
        self.phase = phase
        self.source = source  # whom its place is counted for, see `admission`
        self.worker_fd = worker_fd
        self.dialed = started  # when the first attempt was made
        self.header_size = 0  # of the PROXY protocol header in front of the client's bytes
        self.dial: Dial | None = None
        self.attempt: Attempt | None = None
        self.rival: Attempt | None = None  # races `attempt` while dialing, at `rival_fd`
        self.rival_fd = -1
        self.attempts = 0
        self.errors: tuple[str, ...] = ()
        self.connected: float | None = None
        self.reset: Why | None = None  # how it ends, at `reset_at` at the latest
        self.reset_at = 0.0
        self.half_closed = False  # the end of one side has been passed on to the other
        self.bytes_up = 0  # filled in for its line in the log
        self.bytes_down = 0
        self.peer: tuple[str, int] | None = None  # the proxy's that has said who the client is
        self.sni = ""
        self.alpn = ""  # of the protocols offered the one it was routed by, or the first
        self.unique_id = ""  # Latin-1 for bytes
        self.awaited: Awaited | None = None  # until it is known whose user it is
        self.rtt = 0  # to the user, in microseconds, as the kernel says at the end; 0: not known
        self.retransmits = -1  # segments to the user sent again, likewise; -1: not asked
