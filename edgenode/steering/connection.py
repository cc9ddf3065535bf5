"""A user's connection and its two sides. Plain state, no behaviour.

The objects never point at each other in a ring (a side finds its peer by descriptor): the relay
runs without the garbage collector.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from edgenode.steering.admission import OUTSIDE, Guard
from edgenode.steering.counters import Meter, ServiceCount
from edgenode.steering.dial import Attempt, Dial
from edgenode.steering.table import Bind, Service

CHUNK = 16 * 1024


class Phase(Enum):
    WAITING = auto()  # from this node itself: dialed when its first bytes come
    DIALING = auto()
    LIVE = auto()
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """What a connection needs to know of the table it was accepted under."""

    service: Service
    count: ServiceCount
    bind: Bind
    guard: Guard | None = None


@dataclass(slots=True)
class Side:
    """One of the two sockets, and the bytes that flow from it to the other."""

    fd: int
    peer_fd: int
    connection: Connection
    meter: Meter
    moved: int = 0  # bytes of this side that the other's kernel has taken
    held: bytes = b""  # bytes read here that the other side has not taken; at most one chunk
    chunk: int = CHUNK  # how much to read at once
    watched: bool = False  # registered with epoll
    watches_output: bool = False  # and for output too
    queued: bool = False  # its budget has run out: it goes on in the next round
    ended: bool = False  # an event has told of the end; it tells only once
    failed: bool = False  # an event has told of an error: it will not end in order
    eof: bool = False  # the end has been read
    end_passed: bool = False  # and passed on to the other side
    broken: bool = False  # a write to this side has failed: what it still sends is passed on


@dataclass(slots=True)
class Connection:
    """Times are of the monotonic clock, in seconds."""

    number: int
    route: Route
    client: tuple[str, int]
    local: tuple[str, int]
    client_fd: int
    started: float
    active: float  # when bytes last moved
    phase: Phase = Phase.WAITING
    source: int = OUTSIDE  # whom its place is counted for, see `admission`
    worker_fd: int = -1
    header_size: int = 0  # of the PROXY protocol header in front of the client's bytes
    dial: Dial | None = None
    attempt: Attempt | None = None
    attempts: int = 0
    errors: list[str] = field(default_factory=list)
    connected: float | None = None
    half_closed: bool = False  # the end of one side has been passed on to the other
    bytes_up: int = 0  # filled in at the close
    bytes_down: int = 0
