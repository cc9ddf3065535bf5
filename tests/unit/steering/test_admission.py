"""Whom a service takes, with figures that two relay workers share, and by a relay that runs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.admission import Admission, Guard
from edgenode.steering.occupancy import Occupancy, Register
from edgenode.steering.protection import Protection
from edgenode.steering.sources import Sources
from edgenode.steering.table import Bind, Service, Table
from edgenode.steering.why import Why
from tests.unit.steering import process
from tests.unit.steering.process import Address, Steering
from tests.unit.steering.running import PATIENCE, RunningRelay, Worker, eventually, read_exactly

V4 = "192.0.2.1"


def table(protection: Protection) -> Table:
    service = Service("web", (), "none", 1.0, 60.0, (), protection=protection)
    return Table(1, "lon1", Bind(), (service,))


@pytest.fixture
def make_guards() -> Iterator[Callable[[Protection], tuple[Guard, Guard]]]:
    """The same door, at two relay workers of a node."""
    register = Register(2, 1000)

    def make(protection: Protection) -> tuple[Guard, Guard]:
        register.assign(table(protection), 1, 0)
        made = []
        for row in (0, 1):
            admission = Admission(
                Occupancy.shared(register.fd, row), Sources.shared(register.sources, row)
            )
            admission.apply(table(protection))
            admission.number(lambda name: register.columns["", name])
            guard = admission.guard("web")
            assert guard is not None
            made.append(guard)
        return made[0], made[1]

    yield make
    os.close(register.fd)
    os.close(register.sources)


Make = Callable[[Protection], tuple[Guard, Guard]]


def test_limits_of_connections_hold_for_all_relay_workers(make_guards: Make) -> None:
    one, two = make_guards(Protection(connections=3, per_source=2))
    first, _ = one.admit(V4, 0.0), two.admit(V4, 0.0)
    assert not isinstance(first, Why)
    assert one.admit(V4, 0.0) is two.admit(V4, 0.0) is Why.SOURCE_FULL
    other = two.admit("192.0.2.2", 0.0)
    assert not isinstance(other, Why)
    assert one.admit("192.0.2.3", 0.0) is two.admit("192.0.2.2", 0.0) is Why.SERVICE_FULL
    one.leave(first)
    assert not isinstance(two.admit(V4, 0.0), Why)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.255", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.9", True),
        ("0.0.0.1", "::1", False),
    ],
)
def test_a_source_is_a_prefix(make_guards: Make, one: str, other: str, same: bool) -> None:
    guard, _ = make_guards(Protection(per_source=1, source_prefix_v4=24))
    assert not isinstance(guard.admit(one, 0.0), Why)
    assert isinstance(guard.admit(other, 0.0), Why) is same


def test_rates_hold_for_all_relay_workers(make_guards: Make) -> None:
    one, two = make_guards(Protection(rate=10.0, burst=5))
    admitted = [guard.admit(f"192.0.2.{n}", 100.0) for n in range(4) for guard in (one, two)]
    assert [isinstance(found, Why) for found in admitted] == [False] * 5 + [True] * 3
    assert admitted[-1] is Why.RATE
    assert isinstance(one.admit(V4, 100.05), Why)
    assert not isinstance(two.admit(V4, 100.11), Why)
    assert isinstance(one.admit(V4, 100.11), Why)
    assert sum(not isinstance(one.admit(V4, 200.0), Why) for _ in range(9)) == 5


def test_a_source_that_is_too_fast_costs_the_others_nothing(make_guards: Make) -> None:
    guard, _ = make_guards(Protection(rate=10.0, burst=10, source_rate=1.0, source_burst=2))
    found = [guard.admit(V4, 50.0) for _ in range(100)]
    assert [one for one in found if not isinstance(one, Why)] != []
    assert found.count(Why.SOURCE_RATE) == 98
    # It has had 2 of the service's 10.
    others = [guard.admit(f"192.0.2.{n + 2}", 50.0) for n in range(9)]
    assert [isinstance(one, Why) for one in others] == [False] * 8 + [True]


def test_who_is_over_a_rate_stays_so_however_many_others_come(make_guards: Make) -> None:
    """Nothing is evicted: a flood of new sources does not make an old one forgotten."""
    guard, _ = make_guards(Protection(source_rate=1.0, source_burst=1))
    assert not isinstance(guard.admit(V4, 10.0), Why)
    for n in range(20_000):
        guard.admit(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 10.0)
    assert guard.admit(V4, 10.5) is Why.SOURCE_RATE


def test_who_is_refused_has_no_place(make_guards: Make) -> None:
    guard, _ = make_guards(Protection(connections=50, per_source=50, rate=1.0, burst=1))
    taken = guard.admit(V4, 0.0)
    assert not isinstance(taken, Why)
    for _ in range(200):  # were each counted, the reason would become another
        assert guard.admit(V4, 0.0) is Why.RATE


actions = st.lists(
    st.tuples(st.sampled_from((V4, "192.0.2.2", "2001:db8::1")), st.booleans(), st.floats(0, 3)),
    max_size=80,
)


@given(actions, st.integers(0, 4), st.integers(0, 3), st.sampled_from((0.0, 0.5, 2.0)))
def test_no_limit_is_ever_passed_and_all_places_come_back(
    story: list[tuple[str, bool, float]], most: int, per_source: int, rate: float
) -> None:
    wanted = Protection(connections=most, per_source=per_source, rate=rate, burst=2)
    admission = Admission(Occupancy.alone(), Sources.alone())
    admission.apply(table(wanted))
    admission.number(lambda name: 0)
    guard = admission.guard("web")
    if guard is None:
        assert (most, per_source, rate) == (0, 0, 0.0)
        return
    now, taken, times = 0.0, list[tuple[str, int]](), list[float]()
    for host, comes, later in story:
        now += later
        if comes:
            found = guard.admit(host, now)
            of_host = sum(one == host for one, _ in taken)
            if not isinstance(found, Why):
                taken.append((host, found))
                times.append(now)
            elif found is Why.SOURCE_FULL:
                assert of_host == per_source
            elif found is Why.SERVICE_FULL:
                assert len(taken) == most
        elif taken:
            guard.leave(taken.pop(0)[1])
        assert not most or len(taken) <= most
    if rate:
        for at, began in enumerate(times):
            for more, ended in enumerate(times[at:], start=1):
                assert more <= 2 + rate * (ended - began) + 1e-2
    for _, source in taken:
        guard.leave(source)
    for _ in range(most or 1):
        now += 100.0
        assert not isinstance(guard.admit(V4, now), Why) or (per_source and per_source < most)


def test_only_a_changed_protection_is_a_new_door() -> None:
    admission = Admission(Occupancy.alone(), None)
    wanted = Protection(rate=1.0, burst=1)
    admission.apply(table(wanted))
    before = admission.guard("web")
    assert before is not None
    before.admit(V4, 5.0)
    admission.apply(table(replace(wanted)))
    assert admission.guard("web") is before
    # Whoever raises a limit has it raised now, and not when the old one has been paid for.
    admission.apply(table(replace(wanted, rate=2.0)))
    after = admission.guard("web")
    assert after is not None
    assert not isinstance(after.admit(V4, 5.0), Why)
    admission.apply(table(Protection(lifetime=5.0)))
    assert admission.guard("web") is None


# --- a relay that runs


def greet(connection: socket.socket, header: object) -> None:
    connection.sendall(b"hello")
    read_exactly(connection, 1)


@pytest.fixture
def serve(relay: RunningRelay) -> Iterator[Callable[[Protection], None]]:
    worker = Worker(greet)
    relay.listen("web")

    def serve(protection: Protection) -> None:
        service = relay.service(("fra", [worker.target("fra-1")]))
        relay.apply(replace(service, protection=protection))

    yield serve
    worker.close()


Serve = Callable[[Protection], None]


def admitted(user: socket.socket) -> bool:
    """Whether it is served; if not, it was reset."""
    try:
        return user.recv(5) == b"hello"
    except ConnectionResetError:
        return False


def attempt(relay: RunningRelay, source: str) -> bool:
    try:
        with relay.connect(source=source) as user:
            return admitted(user)
    except ConnectionResetError:
        return False


def test_who_is_denied_is_reset_and_counted(relay: RunningRelay, serve: Serve) -> None:
    serve(Protection(deny=("127.0.0.4/30",)))
    assert attempt(relay, "127.0.0.3")
    assert not attempt(relay, "127.0.0.5")
    assert [line["why"] for line in relay.log(2) if line["region"] is None] == ["denied"]
    serve(Protection(allow=("127.0.0.5/32",), deny=("127.0.0.4/30",)))
    assert attempt(relay, "127.0.0.5")
    assert not attempt(relay, "127.0.0.3")
    refused = [line["why"] for line in relay.log(4) if line["region"] is None]
    assert refused == ["denied", "not-admitted"]
    assert relay.web()["failed"] == 0


def test_a_place_is_given_back_at_the_end(relay: RunningRelay, serve: Serve) -> None:
    serve(Protection(connections=3, per_source=2))
    with ExitStack() as stack:
        users = [stack.enter_context(relay.connect(source="127.0.0.3")) for _ in range(2)]
        assert all(admitted(user) for user in users)
        assert not attempt(relay, "127.0.0.3")
        assert attempt(relay, "127.0.0.4")
        eventually(lambda: relay.web()["live"] == 2)
        last = stack.enter_context(relay.connect(source="127.0.0.5"))
        assert admitted(last)
        assert not attempt(relay, "127.0.0.6")
    eventually(relay.idle)
    reasons = [line["why"] for line in relay.log(6)]
    assert reasons.count("source-full") == reasons.count("service-full") == 1
    for _ in range(5):
        assert attempt(relay, "127.0.0.3")
        eventually(relay.idle)


def test_health_checks_of_the_node_itself_are_always_let_in(
    relay: RunningRelay, serve: Serve
) -> None:
    """Else a flood would have the node withdraw, and pass the flood to the next one."""
    serve(Protection(connections=1, allow=("192.0.2.0/24",), rate=1.0, burst=1))
    for _ in range(3):
        with relay.connect(source=None) as probe:
            probe.settimeout(PATIENCE)
            probe.sendall(b"x")
            assert admitted(probe)


# --- relay workers as processes


def test_a_limit_holds_for_all_relay_workers_and_outlives_each(
    make_steering: Callable[..., Steering], address: Address
) -> None:
    worker, steering = Worker(greet), make_steering(workers=2)
    plain = process.table(1, address, targets=(worker.target("fra-1"),))
    wanted = Protection(connections=6, per_source=4)
    limited = replace(plain, services=(replace(plain.services[0], protection=wanted),))

    def users(count: int) -> list[socket.socket]:
        """Those that are served."""
        made = []
        for _ in range(count):
            with contextlib.suppress(ConnectionResetError):
                user = address.connect()
                if user.recv(5):
                    made.append(user)
        return made

    with steering.control() as control:
        assert control.publish(limited)["failed"] == {}
        served = users(20)  # over both, as the kernel shares them out
        assert len(served) == 4
        # What a relay worker had that is killed is free again.
        victim = steering.relays()[0]
        os.kill(victim, signal.SIGKILL)

        def gone() -> list[socket.socket]:
            found = []
            for user in served:
                user.settimeout(0.0)
                try:
                    user.recv(1)
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    pass
                found.append(user)
            return found

        eventually(lambda: victim not in steering.relays() and len(steering.relays()) == 2)
        assert len(users(20)) == len(gone())
    worker.close()
