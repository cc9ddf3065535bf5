"""The relay on loopback with real sockets: bytes, ends, resets, and users that misbehave."""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import os
import random
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from edgenode.steering import FORM, sysio
from edgenode.steering.connection import Connection, Side
from edgenode.steering.dial import Limits
from edgenode.steering.flow import BULK_CHUNK
from edgenode.steering.form import COMPILED
from edgenode.steering.pipes import PIPE
from edgenode.steering.proxyprotocol import Header
from edgenode.steering.table import Bind, Outliers, Table, Target
from tests.unit.steering.running import (
    PATIENCE,
    USER,
    RunningRelay,
    Worker,
    echo,
    eventually,
    named,
    read_all,
    read_exactly,
    reset,
)

HOSTS = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])


class Mixed:
    """A worker that obeys the first byte: echo, digest, end first, reset."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.digests: list[bytes] = []

    def __call__(self, connection: socket.socket, header: Header | None) -> None:
        mode = read_exactly(connection, 1)
        if mode == b"e":
            while data := connection.recv(self.random.choice((100, 4096, 65536, 300_000))):
                connection.sendall(data)
        elif mode == b"d":
            connection.sendall(hashlib.sha1(read_all(connection)).digest())
        elif mode == b"u":
            connection.sendall(b"hello")
            connection.shutdown(socket.SHUT_WR)
            self.digests.append(hashlib.sha1(read_all(connection)).digest())
        elif mode == b"r":
            reset(connection)


def talk(relay: RunningRelay, mode: bytes, data: bytes, pieces: random.Random) -> bytes:
    """One user of `Mixed`; returns the digest of what the worker must have read."""
    with relay.connect() as user:
        user.settimeout(PATIENCE)
        user.sendall(mode)
        if mode == b"e":
            echoed: list[bytes] = []
            reader = threading.Thread(target=lambda: echoed.append(read_all(user)))
            reader.start()
            at = 0
            while at < len(data):
                size = pieces.choice((1, 500, 16384, 100_000))
                user.sendall(data[at : at + size])
                at += size
            user.shutdown(socket.SHUT_WR)
            reader.join(PATIENCE)
            assert echoed == [data]
        elif mode == b"d":
            user.sendall(data)
            user.shutdown(socket.SHUT_WR)
            assert read_all(user) == hashlib.sha1(data).digest()
        elif mode == b"u":
            assert read_all(user) == b"hello"
            user.sendall(data)
            user.shutdown(socket.SHUT_WR)
        else:
            with pytest.raises(ConnectionResetError):
                user.recv(1)
    return hashlib.sha1(data).digest()


@HOSTS
def test_mixed_traffic(relay: RunningRelay, host: str) -> None:
    mixed = Mixed(1)
    worker = Worker(mixed, host)
    relay.serve(("fra", [worker.target("fra-1")]), host=host)
    pieces, errors, wanted = random.Random(2), list[BaseException](), list[bytes]()

    def user(number: int) -> None:
        mode = b"edur"[number % 4 : number % 4 + 1]
        size = pieces.choice((0, 1, 100, 16383, 16384, 32768, 200_000, 1_500_000))
        try:
            digest = talk(relay, mode, pieces.randbytes(size), pieces)
            if mode == b"u":
                wanted.append(digest)
        except BaseException as error:
            errors.append(error)

    users = [threading.Thread(target=user, args=(number,)) for number in range(60)]
    for one in users:
        one.start()
    for one in users:
        one.join(PATIENCE)
    eventually(relay.idle)
    assert (errors, worker.errors) == ([], [])
    eventually(lambda: len(mixed.digests) == len(wanted))
    assert sorted(mixed.digests) == sorted(wanted)
    web = relay.web()
    assert (web["accepted"], web["live"], web["failed"]) == (60, 0, 0)
    assert web["regions"] == {"fra": {"connections": 60, "failures": 0, "live": 0}}
    lines = relay.log(60)
    assert {line["why"] for line in lines} == {"closed", "worker-reset"}
    # All bytes are counted, and the header is none of the user's.
    assert web["bytes_up"] == sum(line["up"] for line in lines)
    assert web["bytes_down"] == sum(line["down"] for line in lines)


@HOSTS
def test_the_worker_learns_the_users_address(relay: RunningRelay, host: str) -> None:
    headers = []

    def serve(connection: socket.socket, header: Header | None) -> None:
        headers.append(header)
        connection.sendall(read_exactly(connection, 1))

    worker = Worker(serve, host)
    relay.serve(("fra", [worker.target("fra-1")]), host=host)
    with relay.connect() as user:
        user.sendall(b"x")
        assert user.recv(1) == b"x"
        assert headers[0] is not None
        assert headers[0].source == user.getsockname()[:2]
        assert headers[0].destination == user.getpeername()[:2]


def test_without_proxy_protocol_and_the_server_speaks_first(relay: RunningRelay) -> None:
    def serve(connection: socket.socket, header: Header | None) -> None:
        connection.sendall(b"220 hello\r\n")
        echo(connection, header)

    worker = Worker(serve, header=False)
    relay.listen("web")
    relay.apply(relay.service(("fra", [worker.target("fra-1")]), proxy_protocol="none"))
    with relay.connect() as user:
        assert user.recv(100) == b"220 hello\r\n"
        user.sendall(b"quit")
        assert user.recv(100) == b"quit"


def test_segments_of_one_byte(relay: RunningRelay) -> None:
    worker = Worker(echo)
    relay.serve(("fra", [worker.target("fra-1")]))
    data = random.Random(3).randbytes(2000)
    with relay.connect() as user:
        for byte in data:
            user.send(bytes((byte,)))
        user.shutdown(socket.SHUT_WR)
        assert read_all(user) == data


def held(relay: RunningRelay) -> int:
    """The most that a side holds."""

    def most() -> int:
        return max(len(side.held) + side.piped for side in relay.relay._loop.sides.values())

    return relay.call(most)


def test_a_slow_reader_costs_one_chunk_and_nobody_else_waits(relay: RunningRelay) -> None:
    data = random.Random(4).randbytes(24 << 20)

    def serve(connection: socket.socket, header: Header | None) -> None:
        if read_exactly(connection, 1) == b"b":
            connection.sendall(data)
            read_exactly(connection, 1)  # no end and no later byte pushes the last ones on
        else:
            connection.sendall(b"pong")

    worker = Worker(serve)
    relay.serve(("fra", [worker.target("fra-1")]))
    with relay.connect() as slow:
        slow.sendall(b"b")
        eventually(lambda: held(relay) > 0)
        time.sleep(0.05)
        assert held(relay) <= max(BULK_CHUNK, PIPE)
        with relay.connect() as other:
            other.sendall(b"p")
            assert read_exactly(other, 4) == b"pong"
        assert read_exactly(slow, len(data)) == data
        slow.sendall(b"x")


def test_bulk_does_not_starve_others(relay: RunningRelay) -> None:
    stop = threading.Event()

    def serve(connection: socket.socket, header: Header | None) -> None:
        if read_exactly(connection, 1) == b"b":
            while not stop.is_set():
                connection.sendall(bytes(1 << 20))
        else:
            echo(connection, header)

    worker = Worker(serve)
    relay.serve(("fra", [worker.target("fra-1")]))

    def pull() -> None:
        with relay.connect() as user:
            user.sendall(b"b")
            while not stop.is_set():
                user.recv(1 << 20)

    pulls = [threading.Thread(target=pull) for _ in range(2)]
    for one in pulls:
        one.start()
    try:
        eventually(lambda: relay.web()["bytes_down"] > 1 << 22)
        with relay.connect() as user:
            user.sendall(b"e")
            for _ in range(20):
                user.sendall(b"ping")
                assert read_exactly(user, 4) == b"ping"
    finally:
        stop.set()
        for one in pulls:
            one.join(PATIENCE)


# --- ends and resets


def test_the_workers_last_words_before_a_reset_arrive(relay: RunningRelay) -> None:
    """It answers without reading the request, and closes: the kernel makes it a reset."""

    def serve(connection: socket.socket, header: Header | None) -> None:
        connection.sendall(b"413 too large")
        eventually(lambda: len(connection.recv(1 << 16, socket.MSG_PEEK)) == 30_000)

    worker = Worker(serve)
    relay.serve(("fra", [worker.target("fra-1")]))
    with relay.connect() as user:
        user.sendall(bytes(30_000))
        assert read_exactly(user, 13) == b"413 too large"
        with pytest.raises(ConnectionResetError):
            user.recv(1)
    assert relay.log(1)[0]["why"] == "worker-reset"


@pytest.mark.parametrize("write_fails_first", [True, False])
def test_last_words_and_a_reset_in_one_event(relay: RunningRelay, write_fails_first: bool) -> None:
    go, gone = threading.Event(), threading.Event()

    def serve(connection: socket.socket, header: Header | None) -> None:
        read_exactly(connection, 5)
        assert go.wait(PATIENCE)
        connection.sendall(b"bye")
        reset(connection)
        gone.set()

    worker = Worker(serve)
    relay.serve(("fra", [worker.target("fra-1")]))
    with relay.connect() as user:
        user.sendall(b"hello")
        eventually(lambda: relay.web()["bytes_up"] == 5)

        def while_the_relay_stands_still() -> None:
            if write_fails_first:
                user.sendall(b"more")  # the first event of the next round
            go.set()
            assert gone.wait(PATIENCE)

        relay.call(while_the_relay_stands_still)
        assert read_exactly(user, 3) == b"bye"
        with pytest.raises(ConnectionResetError):
            user.recv(1)
    assert relay.log(1)[0]["why"] == "worker-reset"


def test_a_users_reset_reaches_the_worker(relay: RunningRelay) -> None:
    reached = threading.Event()

    def serve(connection: socket.socket, header: Header | None) -> None:
        assert read_exactly(connection, 5) == b"hello"
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        reached.set()

    worker = Worker(serve)
    relay.serve(("fra", [worker.target("fra-1")]))
    user = relay.connect()
    user.sendall(b"hello")
    eventually(lambda: relay.web()["bytes_up"] == 5)
    reset(user)
    assert reached.wait(PATIENCE)
    line = relay.log(1)[0]
    assert (line["why"], line["up"], line["worker"]) == ("client-reset", 5, "fra-1")


def test_a_half_closed_user_gets_a_late_answer(relay: RunningRelay) -> None:
    def serve(connection: socket.socket, header: Header | None) -> None:
        data = read_all(connection)
        time.sleep(0.05)
        connection.sendall(data * 1000)

    worker = Worker(serve)
    relay.serve(("fra", [worker.target("fra-1")]))
    with relay.connect() as user:
        user.sendall(b"question")
        user.shutdown(socket.SHUT_WR)
        assert read_all(user) == b"question" * 1000


def test_a_users_reset_after_its_end_reaches_the_worker(relay: RunningRelay) -> None:
    reached = threading.Event()

    def serve(connection: socket.socket, header: Header | None) -> None:
        assert read_all(connection) == b"question"
        poll = select.poll()
        poll.register(connection, 0)
        assert poll.poll(PATIENCE * 1000)[0][1] & select.POLLERR
        reached.set()

    worker = Worker(serve)
    relay.serve(("fra", [worker.target("fra-1")]))
    user = relay.connect()
    user.sendall(b"question")
    user.shutdown(socket.SHUT_WR)
    eventually(lambda: relay.call(lambda: any(s.end_passed for s in sides(relay))))
    reset(user)
    assert reached.wait(PATIENCE)
    assert relay.log(1)[0]["why"] == "client-reset"


def test_no_descriptor_is_closed_while_events_may_name_it(
    relay: RunningRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one batch: a user resets, another begins to speak (a socket is opened), then a third."""
    worker = Worker(echo)
    relay.serve(("fra", [worker.target("fra-1")]))
    leaving, probe = relay.connect(), relay.connect(source=None)
    leaving.sendall(b"x")
    assert leaving.recv(1) == b"x"
    eventually(lambda: relay.web()["live"] == 2)
    old = relay.call(lambda: {side.fd: link(side.fd) for side in sides(relay)})
    opened: list[bool] = []
    open_upstream = sysio.open_upstream

    def noted(ipv6: bool, device: str | None, source: str | None) -> int:
        opened.append(len(relay.relay._loop.sides) == 1)  # only the probe: the other has ended
        assert {fd: link(fd) for fd in old} == old
        return open_upstream(ipv6, device, source)

    monkeypatch.setattr(sysio, "open_upstream", noted)

    def in_one_batch() -> None:
        reset(leaving)
        probe.sendall(b"y")

    relay.call(in_one_batch)
    assert probe.recv(1) == b"y"
    assert opened == [True]
    probe.close()


def link(fd: int) -> str:
    """Which socket it is."""
    return os.readlink(f"/proc/self/fd/{fd}")


def sides(relay: RunningRelay) -> list[Side]:
    return list(relay.relay._loop.sides.values())


def test_idle_connections_are_reset(relay: RunningRelay) -> None:
    worker = Worker(echo)
    relay.listen("web")
    relay.apply(relay.service(("fra", [worker.target("fra-1")]), idle_timeout=0.3))
    with relay.connect() as busy, relay.connect() as idle:
        for _ in range(10):
            busy.sendall(b"x")
            assert busy.recv(1) == b"x"
            time.sleep(0.05)
        with pytest.raises(ConnectionResetError):
            idle.recv(1)
        busy.sendall(b"x")
        assert busy.recv(1) == b"x"
    assert relay.log(1)[0]["why"] == "idle"


# --- dialing


def is_reset(relay: RunningRelay, source: str | None = USER) -> bool:
    """Whether a user who only listens is reset, be it while it still connects."""
    try:
        with relay.connect(source=source) as user:
            user.recv(1)
    except ConnectionResetError:
        return True
    return False


def closed_port() -> Target:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Target("down", "127.0.0.1", probe.getsockname()[1])


def test_a_refused_worker_costs_nothing(relay: RunningRelay) -> None:
    worker = Worker(echo)
    relay.serve(("fra", [closed_port(), worker.target("fra-1")]))
    for _ in range(20):  # the worker to try first is drawn
        with relay.connect() as user:
            user.sendall(b"x")
            assert user.recv(1) == b"x"
    errors = [error for line in relay.log(20) for error in line["errors"]]
    assert errors == ["fra/down ECONNREFUSED"]  # once: then it is passed over
    assert relay.report()["targets"]["fra/down"] == {"connect_failures": 1, "live": 0}


def test_no_connection_above_the_hard_limit(relay: RunningRelay) -> None:
    worker = Worker(echo)
    relay.serve(("fra", [replace(worker.target("fra-1"), hard_limit=1)]))
    with relay.connect() as user:
        user.sendall(b"x")
        assert user.recv(1) == b"x"
        assert is_reset(relay)
        assert relay.log(1)[0]["why"] == "full"
        assert relay.report()["full"] == {"web": 1}
        assert relay.web()["failed"] == 1
    eventually(relay.idle)
    with relay.connect() as user:
        user.sendall(b"x")
        assert user.recv(1) == b"x"
    assert worker.accepted == 2


def test_places_are_given_back_however_a_connection_ends(relay: RunningRelay) -> None:
    """Else the worker would be full for ever after a few."""
    worker, cut = Worker(echo), Worker(echo)
    cut.cut()
    relay.serve(
        ("fra", [replace(cut.target("fra-1"), hard_limit=2)]),
        ("iad", [replace(worker.target("iad-1"), hard_limit=2)]),
    )
    for how in ("leaves", "resets", "is served") * 3:
        with relay.connect() as user:
            if how == "resets":
                reset(user)
            elif how == "is served":
                user.sendall(b"x")
                assert user.recv(1) == b"x"
        eventually(relay.idle)


OUTLIERS = Outliers(failures=2, base_time=0.6, max_time=0.6)


def test_a_worker_that_resets_is_left_alone_until_it_is_well(
    make_relay: Callable[..., RunningRelay],
) -> None:
    relay = make_relay(limits=Limits(pause=0.2))
    sick = threading.Event()
    sick.set()

    def serve(connection: socket.socket, header: Header | None) -> None:
        if sick.is_set():
            reset(connection)
        else:
            named(b"one:")(connection, header)

    one, other = Worker(serve), Worker(named(b"other:"))
    relay.listen("web")
    service = relay.service(("fra", [one.target("fra-1"), other.target("fra-2")]))
    relay.apply(service, outliers=OUTLIERS)

    def ask() -> bytes:
        try:
            with relay.connect() as user:
                user.sendall(b"x")
                return user.recv(100)
        except ConnectionResetError:
            return b"reset"

    def ejected() -> bool:
        ask()
        return relay.left_alone() == {"fra-1"}

    eventually(ejected)
    before = one.accepted
    assert {ask() for _ in range(20)} == {b"other:x"}
    assert one.accepted == before
    sick.clear()
    eventually(lambda: ask() == b"one:x")
    eventually(lambda: relay.left_alone() == set())


def test_a_user_that_leaves_first_gets_no_worker_ejected(relay: RunningRelay) -> None:
    """Nor does a reset at the end of a session that went well."""

    def serve(connection: socket.socket, header: Header | None) -> None:
        if data := connection.recv(1):
            connection.sendall(data)
            connection.recv(1)  # the user has it
        reset(connection)

    worker, other = Worker(serve), Worker(serve)
    relay.listen("web")
    service = relay.service(("fra", [worker.target("fra-1"), other.target("fra-2")]))
    relay.apply(service, outliers=OUTLIERS)
    for _ in range(8):
        with relay.connect() as user:
            user.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                user.recv(1)
        with relay.connect() as user:
            user.sendall(b"x")
            assert user.recv(1) == b"x"
            user.sendall(b"x")
            with contextlib.suppress(ConnectionResetError):
                user.recv(1)
    eventually(relay.idle)
    assert relay.left_alone() == set()
    assert {line["why"] for line in relay.log(16)} >= {"worker-reset"}


def test_all_refuse(relay: RunningRelay) -> None:
    relay.serve(("fra", [closed_port()]))
    assert is_reset(relay)
    assert relay.log(1)[0]["why"] == "no-target"
    assert relay.web()["failed"] == 1


def test_a_cut_region_costs_one_short_wait_and_then_none(
    make_relay: Callable[..., RunningRelay],
) -> None:
    """Where nobody is raced: the first connection after the cut waits 100 ms, the next do not."""
    relay = make_relay(limits=Limits(pause=0.5))
    near, near2, far = Worker(named(b"near:")), Worker(named(b"near:")), Worker(named(b"far:"))
    relay.listen("web")
    relay.apply(
        relay.service(
            ("fra", [near.target("fra-1"), near2.target("fra-2")]),
            ("iad", [far.target("iad-1")]),
            connect_timeout=5.0,
            hedge=False,
        )
    )

    def ask() -> tuple[bytes, float]:
        started = time.monotonic()
        with relay.connect() as user:
            # In two parts, before and while it is dialed: neither is lost nor sent twice.
            user.sendall(b"first ")
            user.sendall(b"second")
            user.shutdown(socket.SHUT_WR)
            return read_all(user), time.monotonic() - started

    assert ask()[0] == b"near:first second"
    near.cut()
    near2.cut()
    answer, took = ask()
    assert answer == b"far:first second"
    assert 0.1 <= took < 1.0
    answer, took = ask()
    assert answer == b"far:first second"
    assert took < 0.1
    near.mend()
    near2.mend()
    eventually(lambda: ask()[0] == b"near:first second")
    waited = next(line for line in relay.log(3) if line["errors"])
    assert (waited["attempts"], waited["region"]) == (2, "iad")
    assert waited["errors"][0].startswith("fra/")
    assert waited["errors"][0].endswith("ETIMEDOUT")


def test_all_silent(relay: RunningRelay) -> None:
    worker = Worker(echo)
    worker.cut()
    relay.serve(("fra", [worker.target("fra-1")]))
    assert is_reset(relay)
    assert relay.log(1)[0]["errors"] == ["fra/fra-1 ETIMEDOUT"]


def test_what_users_send_while_dialing_is_bounded_and_kept(relay: RunningRelay) -> None:
    silent, worker = Worker(echo), Worker(echo)
    silent.cut()
    relay.serve(("fra", [silent.target("fra-1")]), ("iad", [worker.target("iad-1")]))
    data = random.Random(5).randbytes(1 << 20)
    with relay.connect() as user:
        sender = threading.Thread(target=user.sendall, args=(data,))
        sender.start()
        assert read_exactly(user, len(data)) == data
        sender.join(PATIENCE)


def test_users_that_leave_while_dialing(relay: RunningRelay) -> None:
    silent, worker = Worker(echo), Worker(echo)
    silent.cut()
    relay.serve(("fra", [silent.target("fra-1")]), ("iad", [worker.target("iad-1")]))
    leaving = relay.connect()
    eventually(lambda: relay.web()["accepted"] == 1)
    reset(leaving)
    assert relay.log(1)[0]["why"] == "client-reset"
    assert worker.accepted == 0


def test_a_service_without_a_region(relay: RunningRelay) -> None:
    relay.serve()
    assert is_reset(relay)
    with relay.connect(source=None) as probe:
        probe.settimeout(0.1)
        with pytest.raises(TimeoutError):
            probe.recv(1)
        probe.settimeout(PATIENCE)
        probe.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            probe.recv(1)
    assert [line["why"] for line in relay.log(2)] == ["no-region", "no-region"]


def test_local_probes_trouble_no_worker(relay: RunningRelay) -> None:
    worker = Worker(echo)
    relay.serve(("fra", [worker.target("fra-1")]))
    with relay.connect(source=None):
        eventually(lambda: relay.web()["live"] == 1)
    reset(relay.connect(source=None))
    eventually(lambda: relay.web()["local_probes"] == 2)
    assert (worker.accepted, relay.relay.live) == (0, 0)
    with relay.connect(source=None) as speaking:
        speaking.sendall(b"x")
        assert speaking.recv(1) == b"x"
    assert relay.log(1)[0]["client"].startswith("127.0.0.1:")
    endings = relay.report()["figures"]["web"]["endings"]
    assert endings == {"local-probe": 2, "closed": 1}


def test_local_probes_that_wait_take_no_users_place(
    make_relay: Callable[..., RunningRelay],
) -> None:
    """Health checks hold idle connections (tripwires)."""
    relay = make_relay(limit=2)
    worker = Worker(echo)
    relay.serve(("fra", [worker.target("fra-1")]))
    tripwires = [relay.connect(source=None) for _ in range(64)]
    eventually(lambda: relay.web()["live"] == 64)
    assert is_reset(relay, source=None)
    assert relay.log(1)[0]["why"] == "too-many-probes"
    with relay.connect() as first, relay.connect() as second:
        for user in (first, second):
            user.sendall(b"x")
            assert user.recv(1) == b"x"
        for tripwire in tripwires:
            tripwire.setblocking(False)
            with pytest.raises(BlockingIOError):
                tripwire.recv(1)
    eventually(lambda: relay.web()["live"] == 64)
    # One that speaks is a user like others, and leaves its place.
    tripwires[0].sendall(b"x")
    tripwires[0].settimeout(PATIENCE)
    assert tripwires[0].recv(1) == b"x"
    tripwires.append(relay.connect(source=None))
    eventually(lambda: relay.web()["live"] == 65)
    for tripwire in tripwires:
        tripwire.close()
    eventually(relay.idle)
    assert relay.call(lambda: relay.relay._loop.waiting) == 0


# --- the mesh


def test_upstream_sockets_leave_with_the_mesh_address(relay: RunningRelay) -> None:
    peers = []

    def serve(connection: socket.socket, header: Header | None) -> None:
        peers.append(connection.getpeername()[0])
        connection.sendall(b"x")

    worker, worker6 = Worker(serve), Worker(serve, "::1")
    relay.listen("web")
    service = relay.service(("fra", [worker6.target("fra-6"), worker.target("fra-4")]))
    relay.apply(service, bind=Bind("lo", "127.0.0.9", None))
    for _ in range(20):  # the worker to try first is drawn
        with relay.connect() as user:
            assert user.recv(1) == b"x"
    assert peers == ["127.0.0.9"] * 20
    # Without a mesh address of its family a target is never dialed.
    errors = [error for line in relay.log(20) for error in line["errors"]]
    assert errors == ["fra/fra-6 EAFNOSUPPORT"]
    assert worker6.accepted == 0


def test_no_device_no_connection(relay: RunningRelay) -> None:
    worker = Worker(echo)
    relay.listen("web")
    service = relay.service(("fra", [worker.target("fra-1")]))
    relay.apply(service, bind=Bind("t-none0", "127.0.0.1", None))
    assert is_reset(relay)
    assert relay.log(1)[0]["errors"] == ["fra/fra-1 ENODEV"]
    assert worker.accepted == 0


# --- tables, listeners, room


def test_a_new_table_leaves_live_connections_alone(relay: RunningRelay) -> None:
    old, new = Worker(named(b"old:")), Worker(named(b"new:"))
    relay.serve(("fra", [old.target("fra-1")]))
    with relay.connect() as before:
        before.sendall(b"1")
        assert read_exactly(before, 5) == b"old:1"
        relay.apply(relay.service(("iad", [new.target("iad-1")])))
        with relay.connect() as after:
            after.sendall(b"2")
            assert read_exactly(after, 5) == b"new:2"
        relay.apply()
        with pytest.raises(ConnectionRefusedError):
            relay.connect()
        before.sendall(b"3")
        assert before.recv(1) == b"3"


def test_users_in_the_queue_of_a_listener_that_goes_are_served(relay: RunningRelay) -> None:
    worker = Worker(echo)
    relay.serve(("fra", [worker.target("fra-1")]))

    def connect_and_close_the_listener() -> list[socket.socket]:
        users = [relay.connect() for _ in range(100)]  # the relay accepts none meanwhile
        relay.relay.apply(Table(9, "lon1", Bind(), ()))
        return users

    for user in relay.call(connect_and_close_the_listener):
        with user:
            user.sendall(b"x")
            assert user.recv(1) == b"x"


def test_no_more_connections_than_there_is_room_for(
    make_relay: Callable[..., RunningRelay],
) -> None:
    relay = make_relay(limit=2)
    worker = Worker(echo)
    relay.serve(("fra", [worker.target("fra-1")]))
    with relay.connect() as first, relay.connect() as second:
        for user in (first, second):
            user.sendall(b"x")
            assert user.recv(1) == b"x"
        with relay.connect() as third:
            third.sendall(b"x")
            third.settimeout(0.1)
            with pytest.raises(TimeoutError):
                third.recv(1)
            first.close()
            third.settimeout(PATIENCE)
            assert third.recv(1) == b"x"


def test_running_out_of_descriptors_is_survived(
    relay: RunningRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(echo)
    relay.serve(("fra", [worker.target("fra-1")]))
    accept, failures = sysio.accept, iter((errno.EMFILE, errno.ECONNABORTED))

    def fail_first(listener: socket.socket) -> tuple[int, tuple[str, int]] | None:
        for failure in failures:
            raise OSError(failure, os.strerror(failure))
        return accept(listener)

    monkeypatch.setattr(sysio, "accept", fail_first)
    with relay.connect() as user:
        user.sendall(b"x")
        assert user.recv(1) == b"x"
    assert relay.relay.counters.accept_errors == 1


@pytest.mark.skipif(FORM == COMPILED, reason="there accept4(2) sets it up")
def test_a_connection_that_cannot_be_set_up_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname(), PATIENCE) as user:

            def fail(fd: int, blocking: bool) -> None:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

            monkeypatch.setattr(os, "set_blocking", fail)
            with pytest.raises(OSError, match="Invalid"):
                sysio.accept(listener)
            assert user.recv(1) == b""


def test_bad_connections_leave_nothing_behind(relay: RunningRelay) -> None:
    """1,000 users that send nothing, reset, end at once; workers that refuse or reset."""

    def serve(connection: socket.socket, header: Header | None) -> None:
        if connection.recv(1) == b"r":
            reset(connection)

    worker = Worker(serve)
    relay.listen("web")
    relay.listen("down")
    relay.apply(
        relay.service(("fra", [worker.target("fra-1")])),
        relay.service(("fra", [closed_port()]), name="down"),
    )
    before = len(os.listdir("/proc/self/fd"))

    def misbehave(number: int) -> None:
        user = relay.connect("down" if number % 5 == 4 else "web", None if number % 7 else USER)
        match number % 5:
            case 0:
                reset(user)
            case 1:
                user.shutdown(socket.SHUT_WR)
            case 2:
                user.sendall(b"r")
            case 3:
                user.sendall(b"x" * 1000)
                reset(user)
        user.close()

    for number in range(1000):
        with contextlib.suppress(ConnectionError):  # the relay or the worker was faster
            misbehave(number)
    eventually(relay.idle)
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
    services = relay.report()["services"]
    assert services["web"]["accepted"] + services["down"]["accepted"] == 1000
    # The relay runs without the garbage collector, so nothing may be left for it.
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Connection | Side)]
    assert not getattr(sysio, "_sockets", None)


def test_users_that_speak_first_are_handed_over_when_they_have_spoken(relay: RunningRelay) -> None:
    """Those who do not, as a health check that holds its connection, after a second."""
    worker = Worker(named(b"one:"))
    relay.listen("web")
    plain = relay.service(("fra", [worker.target("fra-1")]))
    relay.apply(replace(plain, client_first=True))
    listener = relay.relay.parts().acceptor.listeners[relay.address("web")].socket
    option = (socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)
    assert listener.getsockopt(*option)
    with relay.connect() as user, relay.connect(source=None) as probe, relay.connect() as silent:
        user.sendall(b"x")
        assert read_exactly(user, 5) == b"one:x"
        eventually(lambda: relay.web()["live"] == 3)
        for late in (probe, silent):
            late.sendall(b"y")
            assert read_exactly(late, 5) == b"one:y"
    relay.apply(replace(plain, client_first=False))
    assert not listener.getsockopt(*option)


@pytest.mark.parametrize("size", [3, 700_000], ids=["a few", "bulk"])
@pytest.mark.parametrize("urgent_by", ["user", "worker"])
def test_urgent_data_stops_nothing_and_keeps_its_place(
    relay: RunningRelay, urgent_by: str, size: int
) -> None:
    """A read ends before it, and tells of no more, though more is there."""
    heard: list[bytes] = []
    far: list[socket.socket] = []
    came = threading.Event()

    def serve(connection: socket.socket, _: Header | None) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        far.append(connection)
        came.wait(PATIENCE)

    worker = Worker(serve)
    relay.serve(("fra", [worker.target("fra-1")]))
    with relay.connect() as user:
        user.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        user.sendall(b"?")
        (other,) = eventually(lambda: list(far))
        other.settimeout(PATIENCE)
        assert other.recv(1) == b"?"
        sender, reader = (user, other) if urgent_by == "user" else (other, user)
        for turn in range(3):
            before, behind = bytes([turn]) * size, b"behind"
            sending = threading.Thread(target=sender.sendall, args=(before,))
            sending.start()
            if turn:
                heard.append(read_exactly(reader, size))
            sending.join(PATIENCE)
            sender.send(b"!", socket.MSG_OOB)
            sender.sendall(behind)
            rest = 0 if turn else size
            heard.append(read_exactly(reader, rest + 7))
            assert b"".join(heard) == before + b"!" + behind
            heard.clear()
        came.set()
