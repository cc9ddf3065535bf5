"""The connections of a target that died."""

from __future__ import annotations

import socket
from dataclasses import replace

from edgenode.steering.dead import MOST_ENDED
from edgenode.steering.table import Bind, RegionTargets, Table, Target
from tests.unit.steering.running import PATIENCE, RunningRelay, Worker, named

MANY = 3 * MOST_ENDED


def users(relay: RunningRelay, count: int) -> dict[bytes, list[socket.socket]]:
    """Users who stay, by the worker that serves them."""
    found: dict[bytes, list[socket.socket]] = {}
    for _ in range(count):
        user = relay.connect()
        user.sendall(b"x")
        found.setdefault(user.recv(1), []).append(user)
        assert user.recv(1) == b"x"
    return found


def is_reset(user: socket.socket) -> bool:
    user.settimeout(PATIENCE)
    try:
        user.recv(1)
    except ConnectionResetError:
        return True
    return False


def alive(user: socket.socket) -> bool:
    user.sendall(b"y")
    return user.recv(1) == b"y"


def died(*targets: Target) -> tuple[RegionTargets, ...]:
    return (RegionTargets("fra", targets),)


def test_they_are_reset_and_no_other(relay: RunningRelay) -> None:
    a, b = Worker(named(b"a")), Worker(named(b"b"))
    one, two = a.target("fra-1"), b.target("fra-2")
    relay.serve(("fra", [one, two]))
    there = users(relay, 2 * MANY)
    left = relay.service(("fra", [two]))
    relay.apply(left)  # it drains, or is ejected: that is no reason
    assert all(alive(user) for some in there.values() for user in some)
    relay.apply(replace(left, dead=died(replace(one, address="127.0.0.9"))))  # its namesake
    assert all(alive(user) for some in there.values() for user in some)
    relay.apply(replace(left, dead=died(one)))
    assert all(is_reset(user) for user in there[b"a"])
    assert all(alive(user) for user in there[b"b"])
    counters = relay.report()
    assert counters["services"]["web"]["live"] == len(there[b"b"])
    assert counters["targets"]["fra/fra-1"]["live"] == 0
    assert counters["figures"]["web"]["endings"]["target-died"] == len(there[b"a"])
    assert {line["why"] for line in relay.log(len(there[b"a"]))} == {"target-died"}
    for worker in (a, b):
        worker.close()


def test_one_that_is_back_is_spared(relay: RunningRelay) -> None:
    a = Worker(named(b"a"))
    one = a.target("fra-1")
    relay.serve(("fra", [one]))
    service = relay.service(("fra", [one]))
    there = users(relay, 2 * MANY)[b"a"]

    def back_at_once() -> None:
        relay.relay.apply(Table(7, "lon1", Bind(), (replace(service, dead=died(one)),)))
        relay.relay.apply(Table(8, "lon1", Bind(), (service,)))

    relay.call(back_at_once)
    assert all(alive(user) for user in there)
    a.close()
