"""What this node runs out of is survived, counted and said, but not for each connection."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Container
from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering import sysio, upstream
from edgenode.steering.descriptors import RESERVE
from edgenode.steering.shortage import PERIOD, Shortage, Teller
from edgenode.steering.table import Bind, Target
from tests.unit.steering.process import Address, Steering, ask, table
from tests.unit.steering.running import RunningRelay, Worker, echo, eventually, named


@given(st.lists(st.tuples(st.floats(0.1, 40.0), st.integers(0, 3))))
def test_each_is_said_once_a_while_and_nothing_is_left_out(story: list[tuple[float, int]]) -> None:
    teller, now, total, told = Teller(), 0.0, 0, 0
    times = []
    for later, more in [*story, (PERIOD, 0)]:
        now, total = now + later, total + more
        for sentence in teller.tell({"ports": total}, now):
            told += int(sentence.split()[0])
            times.append(now)
    assert told == total
    assert all(b - a >= PERIOD - 1e-6 for a, b in pairwise(times))


def test_what_an_older_or_newer_relay_worker_tells() -> None:
    assert Teller().tell({"colours": 5}, 0.0) == []


def no_ports_to(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    connect = sysio.connect

    def fail(fd: int, host: str, port: int) -> int:
        return errno.EADDRNOTAVAIL if port in ports else connect(fd, host, port)

    monkeypatch.setattr(sysio, "connect", fail)


def test_without_ports_to_a_worker_another_is_taken_and_nobody_is_blamed(
    relay: RunningRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (Worker(named(name)) for name in (b"1", b"2"))
    targets = [one.target("fra-1"), two.target("fra-2")]
    relay.serve(("fra", targets))
    with monkeypatch.context() as patched:
        no_ports_to(patched, targets[0].port)
        for _ in range(20):
            with relay.connect() as user:
                user.sendall(b"x")
                assert user.recv(2) == b"2x"
    eventually(relay.idle)
    lacked = relay.report()["shortages"]["ports"]
    assert lacked > 0
    assert relay.left_alone() == set()
    assert relay.web()["regions"]["fra"]["failures"] == 0
    assert relay.call(lambda: relay.relay.counters.fresh_failures) == set()
    assert relay.log(20)[0]["why"] == "closed"
    # As soon as there are ports it has its share again.
    found = set()
    for _ in range(40):
        with relay.connect() as user:
            user.sendall(b"x")
            found.add(user.recv(2))
    assert found == {b"1x", b"2x"}
    assert relay.report()["shortages"]["ports"] == lacked


def test_without_ports_to_any_worker(relay: RunningRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(echo)
    relay.serve(("fra", [worker.target("fra-1")]))
    no_ports_to(monkeypatch, worker.target("").port)
    with pytest.raises(ConnectionResetError), relay.connect() as user:
        user.recv(1)
    (line,) = relay.log(1)
    assert (line["why"], line["errors"]) == ("no-ports", ["fra/fra-1 EADDRNOTAVAIL"])


@pytest.mark.parametrize(
    ("number", "what"),
    [(errno.EMFILE, Shortage.DESCRIPTORS), (errno.ENOMEM, Shortage.MEMORY)],
)
def test_without_room_for_a_workers_side_the_user_is_reset(
    relay: RunningRelay, monkeypatch: pytest.MonkeyPatch, number: int, what: Shortage
) -> None:
    worker = Worker(echo)
    relay.serve(("fra", [worker.target("fra-1"), worker.target("fra-2")]))

    def fail(bind: Bind, target: Target) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(upstream, "begin", fail)
        with pytest.raises(ConnectionResetError), relay.connect() as user:
            user.recv(1)
    (line,) = relay.log(1)
    assert (line["why"], line["attempts"]) == ("no-room", 1)
    assert relay.report()["shortages"] == {what: 1}
    with relay.connect() as user:
        user.sendall(b"x")
        assert user.recv(1) == b"x"


class Crowded(sysio.Epoll):
    """A relay's, that has no memory for some of the next descriptors."""

    def __init__(self, real: sysio.Epoll, refused: Container[int]) -> None:
        self.calls, self.refused, self._real = 0, refused, real

    def register(self, fd: int, events: int) -> None:
        self.calls += 1
        if self.calls in self.refused:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._real.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        self._real.modify(fd, events)

    def unregister(self, fd: int) -> None:
        self._real.unregister(fd)

    def wait(self, seconds: float) -> int:
        return self._real.wait(seconds)

    def fd(self, at: int) -> int:
        return self._real.fd(at)

    def events(self, at: int) -> int:
        return self._real.events(at)


@pytest.mark.parametrize("registration", [1, 2])
def test_a_socket_that_cannot_be_watched_ends_its_connection_alone(
    relay: RunningRelay, registration: int
) -> None:
    worker = Worker(echo)
    relay.serve(("fra", [worker.target("fra-1")]))
    loop = relay.relay._loop

    full = Crowded(loop.epoll, (registration,))
    relay.call(lambda: setattr(loop, "epoll", full))
    with pytest.raises(ConnectionResetError), relay.connect() as user:
        user.recv(1)
    assert relay.log(1)[0]["why"] == "no-room"
    with relay.connect() as user:
        user.sendall(b"x")
        assert user.recv(1) == b"x"


def test_a_listener_that_cannot_be_watched_is_tried_again(
    relay: RunningRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is not at fault, and is obeyed."""
    worker = Worker(echo)
    acceptor = relay.relay._acceptor
    full = Crowded(relay.relay._loop.epoll, range(1, 3))
    monkeypatch.setattr(acceptor, "_epoll", full)
    relay.serve(("fra", [worker.target("fra-1")]))
    with relay.connect() as user:
        user.sendall(b"x")
        assert user.recv(1) == b"x"
    assert relay.report()["shortages"] == {"memory": 2}
    # One for which there is no memory may leave the table again, with who is in its queue.
    relay.listen("other")
    full.calls, full.refused = 0, range(1, 1000)
    region = ("fra", [worker.target("fra-1")])
    relay.apply(relay.service(*[region]), relay.service(region, name="other"))
    relay.apply(relay.service(*[region]))
    with relay.connect() as user:
        user.sendall(b"x")
        assert user.recv(1) == b"x"


def test_the_log_and_the_channel_find_a_descriptor_when_connections_have_taken_all(
    make_steering: Callable[..., Steering], address: Address, worker: Worker
) -> None:
    """A relay worker of which the limit was lowered under it, so that none is left."""
    steering, targets = make_steering(), (worker.target("fra-1"),)
    with steering.control() as control:
        control.publish(table(1, address, targets=targets))
        (relay,) = steering.relays()
        open_files = set(map(int, os.listdir(f"/proc/{relay}/fd")))
        used = next(fd for fd in count() if fd not in open_files)  # a limit is of numbers
        hard = resource.prlimit(relay, resource.RLIMIT_NOFILE)[1]
        assert resource.prlimit(relay, resource.RLIMIT_NOFILE)[0] == hard - RESERVE
        resource.prlimit(relay, resource.RLIMIT_NOFILE, (used, used + RESERVE))
        with address.connect():  # nobody accepts it
            eventually(lambda: control.report()["shortages"].get("descriptors"))
            for _ in range(3):  # it is said with the report that is not asked for
                assert control.receive()["shortages"]["descriptors"]
            moved = steering.log.rename(steering.log.with_suffix(".1"))
            steering.process.send_signal(1)
            eventually(steering.log.exists)
            other = Address()
            assert control.publish(table(2, address, other, targets=targets))["failed"] == {}
            assert steering.relays() == [relay]
        assert moved.exists()
        other.close()
    assert ask(address) == b"x"
    steering.terminate()
    assert steering.process.stderr is not None
    said = steering.process.stderr.read()
    assert said.count("for want of a file descriptor") == 1


def test_what_is_reserved_is_given_out_on_request() -> None:
    program = """
import os, resource
from edgenode.steering import descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
descriptors.keep_reserve()
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    pass
with descriptors.reserve():
    os.dup(0)
try:
    os.dup(0)
except OSError:
    print(len(taken) < 256 - descriptors.RESERVE)
"""
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert done.stdout == "True\n"
