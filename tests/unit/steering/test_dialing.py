"""Dialing in simulated time: workers that answer, refuse, are silent or reset, in any order."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from edgenode.steering import proxyprotocol, sysio, upstream
from edgenode.steering.connection import Connection, Phase, Route, Side
from edgenode.steering.counters import Counters
from edgenode.steering.dial import DEFAULT_LIMITS, TargetKey
from edgenode.steering.dialing import Dialing
from edgenode.steering.ending import Ending
from edgenode.steering.flow import Flow
from edgenode.steering.loop import Loop
from edgenode.steering.memory import Memory
from edgenode.steering.occupancy import Occupancy
from edgenode.steering.sysio import END, ERROR, INPUT, OUTPUT, Epoll, Transfer
from edgenode.steering.table import Bind, RegionTargets, Service, Table, Target
from edgenode.steering.warming import Warming
from edgenode.steering.why import Why

CLIENT = 10_000
STEP = 0.002
USERS, SERVICE = ("192.0.2.2", 4000), ("203.0.113.1", 443)


@dataclass
class Behaviour:
    """What a worker does with a connection: `after` so many seconds it does it."""

    what: str  # "answers", "refuses", "resets" (it accepts first), "silent"
    after: float
    takes: int  # bytes of a write, at most


@dataclass
class Remote:
    """The other end of one attempt."""

    key: TargetKey
    behaviour: Behaviour
    due: float
    told: bool = False  # the event
    refused: bool = False  # an error is pending
    got: bytearray = field(default_factory=bytearray)
    closed: str = ""

    def stands(self, now: float) -> bool:
        return self.behaviour.what == "answers" and now >= self.due


class Network:
    """The system calls, as far as dialing makes them; the user's bytes come at their times."""

    def __init__(self, service: Service, behaviours: dict[TargetKey, Behaviour]) -> None:
        self.loop = Loop()
        self.loop.epoll.close()
        self.loop.epoll = Watching(self)
        self.loop.now = 100.0
        self.behaviours = behaviours
        self.regions = {t.worker: r.region for r in service.regions for t in r.workers}
        self.remotes: dict[int, Remote] = {}
        self.arrivals: list[tuple[float, bytes]] = []
        self.leaves = float("inf")
        self.sent = b""  # what the user has sent and the relay has read

    # --- epoll(7), connect(2), read(2), …

    def begin(self, bind: Bind, target: Target) -> int:
        key = (self.regions[target.worker], target.worker)
        behaviour = self.behaviours[key]
        fd = CLIENT + 1 + len(self.remotes)
        self.remotes[fd] = Remote(key, behaviour, self.loop.now + behaviour.after)
        return fd

    def read(self, fd: int, size: int) -> bytes:
        if fd != CLIENT:
            raise BlockingIOError
        if self.loop.now >= self.leaves:
            raise ConnectionResetError(errno.ECONNRESET, "reset")
        if not self.arrivals or self.arrivals[0][0] > self.loop.now:
            raise BlockingIOError
        at, data = self.arrivals.pop(0)
        if len(data) > size:
            self.arrivals.insert(0, (at, data[size:]))
        self.sent += data[:size]
        return data[:size]

    def write(self, fd: int, data: bytes) -> int:
        remote = self.remotes[fd]
        assert not remote.closed
        if remote.refused:
            remote.refused = False
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        if not remote.stands(self.loop.now):
            raise BlockingIOError
        taken = data[: remote.behaviour.takes]
        remote.got += taken
        return len(taken)

    def take_error(self, fd: int) -> int:
        refused, self.remotes[fd].refused = self.remotes[fd].refused, False
        return errno.ECONNREFUSED if refused else 0

    def close(self, fd: int) -> None:
        if fd != CLIENT:
            self.remotes[fd].closed = "closed"

    def reset(self, fd: int) -> None:
        if fd != CLIENT:
            self.remotes[fd].closed = "reset"

    @contextmanager
    def patched(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(patch.object(upstream, "begin", self.begin))
            for name in ("read", "write", "take_error", "close", "reset"):
                stack.enter_context(patch.object(sysio, name, getattr(self, name)))
            yield

    def events(self) -> list[tuple[int, int]]:
        found = []
        for fd, remote in self.remotes.items():
            due = self.loop.now >= remote.due and not remote.told
            if due and not remote.closed and remote.behaviour.what != "silent":
                remote.told = True
                remote.refused = remote.behaviour.what in ("refuses", "resets")
                found.append((fd, OUTPUT | (INPUT | END | ERROR if remote.refused else 0)))
            elif not remote.closed and remote.stands(self.loop.now):
                found.append((fd, OUTPUT))  # it has read, and can take more
        return found

    def under_way(self) -> list[Remote]:
        return [one for one in self.remotes.values() if not one.closed]


class Watching(Epoll):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    def register(self, fd: int, events: int) -> None:
        assert fd == CLIENT or not self._network.remotes[fd].closed

    modify = register


class Wire(Transfer):
    """What a flow calls, on the network."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network
        self._got = b""

    def read(self, fd: int, size: int) -> int:
        try:
            self._got = self._network.read(fd, size)
        except OSError as error:
            return -(error.errno or errno.EAGAIN)
        return len(self._got)

    def write(self, fd: int, size: int, more: bool) -> int:
        return self.write_held(fd, self._got[:size], more)

    def rest(self, start: int, size: int) -> bytes:
        return self._got[start:size]

    def write_held(self, fd: int, data: bytes, more: bool) -> int:
        try:
            return self._network.write(fd, data)
        except OSError as error:
            return -(error.errno or errno.EAGAIN)


class Nowhere:
    """An access log that nobody reads."""

    waiting = False

    def add(self, line: bytes) -> None:
        self.line = line


class Story:
    """One connection."""

    def __init__(self, service: Service, network: Network, usual: float | None) -> None:
        self.network, self.loop = network, network.loop
        self.occupancy = Occupancy.alone()
        self.memory = Memory(self.occupancy, Random(1))
        table = Table(1, "lon1", Bind(), (service,))
        self.memory.apply(table, 0.0, 0.0)
        for region in service.regions if usual is not None else ():
            for _ in range(20):
                self.memory.path(region.region).learn(usual or 0.0)
        self.counters, self.log = Counters(), Nowhere()
        self.ending = Ending(self.loop, self.counters, self.memory, self.log)  # type: ignore[arg-type]
        flow = Flow(self.loop, self.ending.end, Wire(network))
        self.flow = flow
        warming = Warming(self.loop, self.counters, self.memory)
        self.dialing = Dialing(
            self.loop, self.counters, self.memory, DEFAULT_LIMITS, flow, warming, self.ending.end
        )
        route = Route(service, self.counters.service("web"), Bind())
        now = self.loop.now
        self.connection = Connection(1, route, USERS, SERVICE, CLIENT, now, now, Phase.DIALING)
        client = Side(CLIENT, -1, self.connection, route.count.up, watched=True)
        self.loop.sides[CLIENT] = client
        self.loop.connections[1] = self.connection
        self.loop.live = 1
        route.count.live = 1
        self.client = client

    def run(self) -> None:
        """Until it is over, or long after it is live."""
        self.dialing.begin(self.connection, self.client)
        for _ in range(6000):
            self.check()
            if self.connection.phase is Phase.CLOSED or not self.step():
                break
        self.loop.closing.close_all()
        self.check()

    def step(self) -> bool:
        network, loop = self.network, self.loop
        loop.now += STEP
        live = self.connection.phase is Phase.LIVE
        for fd, event in network.events():
            side = loop.sides.get(fd)
            if side is None:
                continue
            if side.connection.phase is Phase.LIVE:
                self.flow.on_event(side, event)
            else:
                self.dialing.on_answer(side, event)
        if self.connection.phase is Phase.LIVE:
            self.flow.on_event(self.client, INPUT)
        elif loop.now >= network.leaves:
            self.ending.end(self.connection, Why.CLIENT_RESET)
        for _ in loop.timers.expired(loop.now):
            if self.connection.phase is Phase.DIALING:
                self.dialing.on_timer(self.connection)
        loop.closing.close_all()
        return not (live and not network.arrivals and not self.client.held)

    def check(self) -> None:
        network = self.network
        keys = [one.key for one in network.remotes.values()]
        assert len(keys) == len(set(keys)), "each target is tried once"
        spoken = [one for one in network.remotes.values() if one.got]
        assert len(spoken) <= 1, "the bytes go to one alone"
        for one in spoken:
            header = proxyprotocol.encode(USERS, SERVICE)
            whole = header + network.sent
            assert whole.startswith(bytes(one.got)), "none is lost, none comes twice"
        assert len(network.under_way()) <= 2
        counted = len(spoken[0].got) - len(header) if spoken else 0
        assert self.client.meter.bytes == max(0, counted), "the header is no byte of a user"
        if self.connection.phase is not Phase.LIVE:
            assert not spoken or self.connection.connected is not None
            return
        self.loop.closing.close_all()
        (winner,) = network.under_way()
        for one in network.remotes.values():
            if one is not winner and one.behaviour.what in ("answers", "silent"):
                raced = one.closed == "reset"
                assert raced or f"{one.key[0]}/{one.key[1]} ETIMEDOUT" in self.connection.errors

    def places(self) -> int:
        return sum(self.occupancy.live(c) for c in range(self.memory._numbers.used))


behaviours = st.builds(
    Behaviour,
    st.sampled_from(("answers", "answers", "refuses", "resets", "silent")),
    st.sampled_from((0.0, 0.004, 0.012, 0.03, 0.12, 0.4, 2.0)),
    st.sampled_from((1, 10, 100_000)),
)
pieces = st.lists(
    st.tuples(st.sampled_from((0.0, 0.01, 0.05, 0.2)), st.binary(min_size=1, max_size=40)),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(behaviours, min_size=1, max_size=2), min_size=1, max_size=3),
    pieces,
    st.sampled_from((None, 0.001, 0.012, 0.1)),
    st.sampled_from((None, 0.0, 0.02, 0.1, 1.0)),
    st.booleans(),
)
def test_the_bytes_of_a_user_reach_one_worker_once(
    regions: list[list[Behaviour]],
    data: list[tuple[float, bytes]],
    usual: float | None,
    leaves: float | None,
    hedge: bool,
) -> None:
    named = {
        (region, f"{region}{number}"): behaviour
        for region, of_region in zip("abc", regions, strict=False)
        for number, behaviour in enumerate(of_region)
    }
    service = Service(
        "web",
        ("203.0.113.1:443",),
        "v2",
        0.5,
        60.0,
        tuple(
            RegionTargets(
                region, tuple(Target(w, "198.51.100.1", 80) for r, w in named if r == region)
            )
            for region in "abc"[: len(regions)]
        ),
        hedge=hedge,
    )
    network = Network(service, named)
    at = network.loop.now
    for later, piece in data:
        at += later
        network.arrivals.append((at, piece))
    if leaves is not None:
        network.leaves = network.loop.now + leaves
    story = Story(service, network, usual)
    with network.patched():
        story.run()
    phase = story.connection.phase
    if phase is Phase.LIVE:
        (winner,) = network.under_way()
        assert bytes(winner.got) == proxyprotocol.encode(USERS, SERVICE) + network.sent
        assert not network.arrivals or leaves is not None
        assert story.places() == 2  # one at the worker, one in its region
    else:
        assert phase is Phase.CLOSED
        assert network.under_way() == []
        assert story.places() == 0
        soon = [one for one in named.values() if one.what == "answers" and one.after <= 0.05]
        assert leaves is not None or not soon, "somebody would have answered"


def test_of_a_worker_that_took_a_part_of_the_header_no_bytes_are_logged() -> None:
    region = RegionTargets("a", (Target("a0", "198.51.100.1", 80),))
    service = Service("web", ("203.0.113.1:443",), "v2", 0.5, 60.0, (region,))
    network = Network(service, {("a", "a0"): Behaviour("answers", 0.0, 10)})
    network.arrivals = [(network.loop.now, b"hello")]
    story = Story(service, network, None)
    with network.patched():
        story.dialing.begin(story.connection, story.client)
        while story.connection.phase is not Phase.LIVE:
            story.step()
        assert 0 < len(network.remotes[CLIENT + 1].got) < story.connection.header_size
        story.ending.end(story.connection, Why.WORKER_RESET)
    assert json.loads(story.log.line)["up"] == 0
    assert story.client.meter.bytes == 0
