"""Two attempts that race, on loopback with real sockets."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
from collections.abc import Callable

import pytest

from edgenode.steering import upstream
from edgenode.steering.dial import Limits
from edgenode.steering.table import Dialing
from tests.unit.steering.running import (
    PATIENCE,
    RunningRelay,
    Worker,
    echo,
    eventually,
    named,
    read_all,
    read_exactly,
    reset,
)


def ask(relay: RunningRelay) -> bytes:
    """In two parts, before and while it is dialed: neither is lost nor sent twice."""
    with relay.connect() as user:
        user.settimeout(PATIENCE)
        user.sendall(b"first ")
        user.sendall(b"second")
        user.shutdown(socket.SHUT_WR)
        return read_all(user)


def dialing(relay: RunningRelay) -> dict[str, int]:
    found: dict[str, int] = relay.report()["figures"]["web"]["dialing"]
    return found


@pytest.fixture
def three(relay: RunningRelay) -> tuple[RunningRelay, list[Worker]]:
    """Three regions of one worker, and what is usual in the first is known."""
    workers = [Worker(named(name)) for name in (b"near:", b"far:", b"last:")]
    regions = zip(("fra", "iad", "sin"), workers, strict=True)
    relay.listen("web")
    relay.apply(
        relay.service(
            *((region, [worker.target(f"{region}-1")]) for region, worker in regions),
            connect_timeout=PATIENCE,
        )
    )
    assert ask(relay) == b"near:first second"
    return relay, workers


def test_users_of_a_cut_region_are_served_by_the_next(
    three: tuple[RunningRelay, list[Worker]],
) -> None:
    relay, (near, _, last) = three
    near.cut()
    for _ in range(3):
        assert ask(relay) == b"far:first second"
    # After a few nobody asks there any more.
    assert relay.left_alone() == {None}
    assert ask(relay) == b"far:first second"
    lines = relay.log(5)[1:]
    assert [line["attempts"] for line in lines] == [2, 2, 2, 1]
    assert [line["errors"] for line in lines] == [["fra/fra-1 slower"]] * 3 + [[]]
    assert {line["region"] for line in lines} == {"iad"}
    counted = dialing(relay)
    assert (counted["hedged"], counted["hedge_won"], counted["budget_exhausted"]) == (3, 3, 0)
    assert relay.web()["failed"] == last.accepted == 0
    # It is back once it answers one that tries.
    near.mend()
    eventually(lambda: ask(relay) == b"near:first second")


def test_two_regions_at_a_time(three: tuple[RunningRelay, list[Worker]]) -> None:
    """The second is silent as well: the third gets its turn when the first one's is over."""
    relay, (near, far, _) = three
    near.cut()
    far.cut()
    assert ask(relay) == b"last:first second"
    (line,) = relay.log(2)[1:]
    assert line["errors"][0] == "fra/fra-1 ETIMEDOUT"
    assert line["attempts"] == 3


def test_what_users_send_meanwhile_is_bounded_and_kept(
    three: tuple[RunningRelay, list[Worker]],
) -> None:
    relay, (near, *_) = three
    near.cut()
    data = random.Random(5).randbytes(1 << 20)
    with relay.connect() as user:
        user.settimeout(PATIENCE)
        sender = threading.Thread(target=user.sendall, args=(data,))
        sender.start()
        assert read_exactly(user, len(data) + 4) == b"far:" + data
        sender.join(PATIENCE)


def test_users_that_leave_meanwhile_leave_nothing_behind(
    three: tuple[RunningRelay, list[Worker]],
) -> None:
    relay, workers = three
    for worker in workers:
        worker.cut()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        hedged = dialing(relay)["hedged"]
        leaving = relay.connect()
        eventually(lambda hedged=hedged: dialing(relay)["hedged"] > hedged)  # type: ignore[misc]
        reset(leaving)
        eventually(relay.idle)
    assert {line["why"] for line in relay.log(4)[1:]} == {"client-reset"}
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
    occupancy = relay.relay._memory._occupancy
    assert sum(occupancy.live(column) for column in range(20)) == 0


def test_beyond_the_budget_a_cut_region_is_waited_for(
    make_relay: Callable[..., RunningRelay],
) -> None:
    relay = make_relay(limits=Limits(patience_floor=0.5))
    near, far = Worker(echo), Worker(echo)
    relay.listen("web")
    service = relay.service(
        ("fra", [near.target("fra-1")]), ("iad", [far.target("iad-1")]), connect_timeout=PATIENCE
    )
    relay.apply(service, dialing=Dialing(hedge_share=0.2, hedge_floor=0.0))
    assert ask(relay) == b"first second"
    near.cut()
    answers: list[bytes] = []
    users = [threading.Thread(target=lambda: answers.append(ask(relay))) for _ in range(20)]
    for user in users:
        user.start()
    for user in users:
        user.join(PATIENCE)
    assert answers == [b"first second"] * 20
    counted = dialing(relay)
    assert counted["hedged"] <= 5
    lines = relay.log(21)
    assert sum(line["attempts"] - 1 for line in lines) == counted["hedged"] + sum(
        any("ETIMEDOUT" in error for error in line["errors"]) for line in lines
    )


def test_one_that_resets_as_it_accepts_gets_no_second_chance_of_the_same_bytes(
    relay: RunningRelay,
) -> None:
    """What was written once is never written to another."""
    seen: list[bytes] = []

    def serve(connection: socket.socket, header: object) -> None:
        seen.append(connection.recv(100))
        reset(connection)

    first, second = Worker(serve), Worker(serve)
    relay.serve(("fra", [first.target("fra-1")]), ("iad", [second.target("iad-1")]))
    for _ in range(4):
        with relay.connect() as user:
            user.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                user.recv(1)
    eventually(relay.idle)
    assert seen == [b"x"] * 4
    assert first.accepted + second.accepted == 4


def test_without_a_descriptor_for_a_second_attempt_the_first_goes_on(
    three: tuple[RunningRelay, list[Worker]], monkeypatch: pytest.MonkeyPatch
) -> None:
    relay, (near, *_) = three
    near.cut()
    begin, begun = upstream.begin, 0

    def scarce(*arguments: object) -> int:
        nonlocal begun
        begun += 1
        if begun == 2:
            raise OSError(errno.EMFILE, "none left")
        return begin(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(upstream, "begin", scarce)
    assert ask(relay) == b"last:first second"
    (line,) = relay.log(2)[1:]
    assert line["errors"] == ["EMFILE", "fra/fra-1 ETIMEDOUT"]
