"""Connections that are kept ready, with real sockets."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgenode.steering import upstream
from edgenode.steering.outliers import Failure
from edgenode.steering.proxyprotocol import Header
from edgenode.steering.table import Dialing, Service, Target
from tests.unit.steering.running import (
    PATIENCE,
    USER,
    RunningRelay,
    Worker,
    echo,
    eventually,
    named,
    read_all,
    read_header,
    reset,
)


def dialing(relay: RunningRelay) -> dict[str, int]:
    found: dict[str, int] = relay.report()["figures"]["web"]["dialing"]
    return found


def ready(relay: RunningRelay) -> int:
    """How many stand."""

    def count() -> int:
        reserves = relay.relay._warming._reserves.values()
        return sum(one.stood is not None for reserve in reserves for one in reserve.all)

    return relay.call(count)


def places(relay: RunningRelay) -> int:
    """Those that are taken, at workers and in regions."""
    occupancy = relay.relay._memory._occupancy
    return sum(occupancy.live(column) for column in range(20))


def keep(relay: RunningRelay, warm: int, *regions: tuple[str, list[Target]]) -> Service:
    relay.listen("web")
    service = replace(relay.service(*regions), warm=warm)
    relay.apply(service)
    return service


def ask(relay: RunningRelay, data: bytes = b"x") -> bytes:
    with relay.connect() as user:
        user.settimeout(PATIENCE)
        user.sendall(data)
        user.shutdown(socket.SHUT_WR)
        return read_all(user)


def test_a_user_gets_one_that_was_kept_and_another_follows(relay: RunningRelay) -> None:
    """The worker hears nothing before, and then the header of this user alone."""
    headers: list[Header | None] = []
    quiet: list[bool] = []

    def serve(connection: socket.socket, _: Header | None) -> None:
        connection.settimeout(0.2)
        try:
            connection.recv(1, socket.MSG_PEEK)
            quiet.append(False)
        except TimeoutError:
            quiet.append(True)
        connection.settimeout(PATIENCE)
        headers.append(read_header(connection))
        echo(connection, None)

    worker = Worker(serve, header=False)
    keep(relay, 2, ("fra", [worker.target("fra-1")]))
    eventually(lambda: ready(relay) == 2)
    eventually(lambda: len(quiet) == 2)
    assert (quiet, places(relay)) == ([True, True], 4)
    assert ask(relay, b"hello") == b"hello"
    assert headers[0] is not None
    assert headers[0].source is not None
    assert headers[0].source[0] == USER
    assert dialing(relay)["warm_used"] == 1
    (line,) = relay.log(1)
    assert (line["worker"], line["attempts"], line["errors"]) == ("fra-1", 1, [])
    eventually(lambda: ready(relay) == 2)
    assert places(relay) == 4


def test_without_a_header_and_a_users_word(make_relay: Callable[..., RunningRelay]) -> None:
    relay, worker = make_relay(), Worker(named(b"fra:"), header=False)
    relay.listen("web")
    service = relay.service(("fra", [worker.target("fra-1")]), proxy_protocol="none")
    relay.apply(replace(service, warm=1))
    eventually(lambda: ready(relay) == 1)
    with relay.connect() as user:
        user.settimeout(PATIENCE)
        eventually(lambda: dialing(relay)["warm_used"] == 1)
        user.sendall(b"x")
        assert user.recv(5) == b"fra:x"


@pytest.mark.parametrize("how", ["closes", "resets", "speaks"])
def test_one_that_is_no_good_is_thrown_away(relay: RunningRelay, how: str) -> None:
    held: list[socket.socket] = []
    spoil = threading.Event()

    def serve(connection: socket.socket, _: Header | None) -> None:
        if spoil.is_set():
            read_header(connection)
            echo(connection, None)
            return
        held.append(connection.dup())
        spoil.wait(PATIENCE)
        if how == "speaks":
            connection.sendall(b"220 mail.example ESMTP\r\n")
            connection.recv(1)
        elif how == "resets":
            held[0].close()
            reset(connection)

    worker = Worker(serve, header=False)
    keep(relay, 1, ("fra", [worker.target("fra-1")]))
    eventually(lambda: ready(relay) == 1 and held)
    spoil.set()
    if how == "closes":
        held[0].close()
    eventually(lambda: dialing(relay)["warm_discarded"] == 1)
    assert ask(relay) == b"x"
    assert {line["why"] for line in relay.log(1)} == {"closed"}
    eventually(lambda: ready(relay) == 1)


def test_who_refuses_is_not_asked_again_and_again(relay: RunningRelay) -> None:
    worker = Worker(echo)
    target = worker.target("fra-1")
    worker.close()
    far = Worker(named(b"far:"))
    keep(relay, 8, ("fra", [target]), ("iad", [far.target("iad-1")]))
    eventually(lambda: ready(relay) == 8)  # of the next region, since the first one fails
    assert relay.report()["targets"]["fra/fra-1"]["connect_failures"] <= 8
    assert ask(relay) == b"far:x"


def test_they_follow_the_table(relay: RunningRelay) -> None:
    near, far = Worker(named(b"near:")), Worker(named(b"far:"))
    regions = ("fra", [near.target("fra-1")]), ("iad", [far.target("iad-1")])
    service = keep(relay, 2, *regions)
    eventually(lambda: ready(relay) == 2)
    eventually(lambda: (near.accepted, far.accepted) == (2, 0))
    relay.apply(replace(service, regions=service.regions[::-1]))
    eventually(lambda: far.accepted == 2 and ready(relay) == 2)
    assert ask(relay) == b"far:x"
    relay.apply(replace(service, warm=0))
    eventually(lambda: ready(relay) == places(relay) == 0)


def test_they_leave_a_region_that_falls_silent(relay: RunningRelay) -> None:
    near, far = Worker(named(b"near:")), Worker(named(b"far:"))
    keep(relay, 2, ("fra", [near.target("fra-1")]), ("iad", [far.target("iad-1")]))
    eventually(lambda: ready(relay) == 2)
    memory: Any = relay.relay._memory

    def silent() -> None:
        pool = memory.pools("web")[0]
        memory.failed(pool, 0, Failure.TIMEOUT, relay.relay.now, relay.relay.now)

    near.cut()
    relay.call(silent)
    assert ask(relay) == b"far:x"
    eventually(lambda: far.accepted >= 2)


def test_they_hold_places_up_to_the_limits(relay: RunningRelay) -> None:
    worker = Worker(echo)
    keep(relay, 4, ("fra", [replace(worker.target("fra-1"), soft_limit=2, hard_limit=3)]))
    eventually(lambda: ready(relay) == 2)
    assert ask(relay) == b"x"
    eventually(lambda: ready(relay) == 2)
    assert places(relay) == 4


def test_they_are_renewed(relay: RunningRelay) -> None:
    worker = Worker(echo)
    relay.listen("web")
    service = replace(relay.service(("fra", [worker.target("fra-1")])), warm=1)
    relay.apply(service, dialing=Dialing(warm_age=0.2))
    eventually(lambda: worker.accepted >= 3)
    assert dialing(relay)["warm_discarded"] == 0
    assert ask(relay) == b"x"


def test_none_is_left_when_the_relay_accepts_no_more(relay: RunningRelay) -> None:
    worker = Worker(echo)
    service = keep(relay, 3, ("fra", [worker.target("fra-1")]))
    eventually(lambda: ready(relay) == 3)
    relay.call(relay.relay.stop_accepting)
    eventually(lambda: places(relay) == 0)
    relay.apply(replace(service, listen=()))
    assert relay.report()["services"]["web"]["regions"] == {}
    assert ready(relay) == 0


def recovers(relay: RunningRelay, scarce: threading.Event) -> None:
    """None is kept while something is scarce, nobody is blamed for it, and it is made good."""
    worker = Worker(echo)
    keep(relay, 1, ("fra", [worker.target("fra-1")]))
    eventually(lambda: relay.call(lambda: relay.relay._warming._reserves["web"]._failures) > 0)
    assert relay.left_alone() == set()
    assert places(relay) == 0
    scarce.clear()
    eventually(lambda: ready(relay) == 1)


def test_a_node_that_runs_out_of_descriptors_blames_no_worker(
    relay: RunningRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, scarce = upstream.begin, threading.Event()
    scarce.set()

    def begins(*arguments: Any) -> int:
        if scarce.is_set():
            raise OSError(errno.EMFILE, "none left")
        return begin(*arguments)

    monkeypatch.setattr(upstream, "begin", begins)
    recovers(relay, scarce)


def test_one_that_cannot_be_watched_ends_nobody_else(
    relay: RunningRelay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begin, scarce = upstream.begin, threading.Event()
    scarce.set()

    def begins(*arguments: Any) -> int:
        if scarce.is_set():  # epoll_ctl(2) refuses a file, as it does where there is no memory
            return os.open(tmp_path / "file", os.O_CREAT)
        return begin(*arguments)

    monkeypatch.setattr(upstream, "begin", begins)
    recovers(relay, scarce)
    assert ask(relay) == b"x"
