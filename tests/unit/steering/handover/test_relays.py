"""From one relay worker to the next: what users and workers see of it, which is nothing."""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgenode.steering import flow
from edgenode.steering.connection import Side
from edgenode.steering.handover import channel as handover
from edgenode.steering.proxyprotocol import UNIQUE_ID, Header, encode, field
from edgenode.steering.table import Bind, RegionTargets, Service, Table, Target
from tests.unit.steering.handover.hands import Hand, copy, freeze
from tests.unit.steering.hellos import hello
from tests.unit.steering.running import (
    PATIENCE,
    USER,
    Worker,
    echo,
    eventually,
    listen,
    read_all,
    read_exactly,
    reset,
)

BULK = random.Random(7).randbytes(24 << 20)


class Site:
    """One address, one service, and the relay workers that serve it one after the other."""

    def __init__(self, directory: Path) -> None:
        self.listener = listen("127.0.0.1")
        host, port = self.listener.getsockname()
        self.address = f"{host}:{port}"
        self.log = directory / "log"
        self.revision = 0
        self.hands: list[Hand] = []
        self.targets: tuple[Target, ...] = ()
        self.keys: dict[str, Any] = {}
        """More of the service."""
        self.others: tuple[Service, ...] = ()
        """Which share its address."""

    def start(self, *targets: Target) -> Hand:
        hand = Hand(self.log)
        self.hands.append(hand)
        self.targets = targets
        hand.listen(self.address, self.listener)
        self.revision += 1
        hand.table(self.table())
        return hand

    def table(self) -> Table:
        regions = (RegionTargets("fra", self.targets),) if self.targets else ()
        service = Service("web", (self.address,), "v2", 5.0, 60.0, regions)
        services = (replace(service, **self.keys), *self.others)
        return Table(self.revision, "lon1", Bind(), services)

    def next(self, end: socket.socket) -> Hand:
        """The next one, which has the listener and the table."""
        hand = Hand(self.log, end)
        self.hands.append(hand)
        hand.listen(self.address, self.listener)
        hand.table(self.table())
        return hand

    def move(self, old: Hand) -> Hand:
        """A whole handover."""
        new = copy(old, self.next)
        token = freeze(old)
        old.step("frozen")
        new.step("adopted")
        assert handover.claim(token)
        os.close(token)
        new.send({"type": "serve"})
        old.send({"type": "leave"})
        eventually(lambda: old.ours is not None)
        assert old.ours is False
        return new

    def connect(self) -> socket.socket:
        host, _, port = self.address.partition(":")
        return socket.create_connection((host, int(port)), PATIENCE, (USER, 0))

    def taken(self) -> list[int]:
        """Places that are taken at workers and regions, as the latest relay worker counts."""
        return self.hands[-1].taken()

    def lines(self, number: int) -> list[dict[str, object]]:
        def read() -> list[dict[str, object]] | None:
            found = [json.loads(line) for line in self.log.read_text().splitlines()]
            return found if len(found) >= number else None

        found = eventually(read)
        assert found is not None
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for hand in made.hands:
        hand.close()
    made.listener.close()


def send_bulk(connection: socket.socket, _: Header | None) -> None:
    """Answer a question with BULK."""
    connection.recv(1)
    connection.sendall(BULK)
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)


def test_a_session_goes_on_with_another(site: Site, worker: Worker) -> None:
    """Its numbers, too; it is logged once, with all that it moved."""
    old = site.start(worker.target("fra-1"))
    with site.connect() as user:
        user.sendall(b"before")
        assert read_exactly(user, 6) == b"before"
        new = site.move(old)
        assert new.web()["live"] == 1
        assert new.live("fra/fra-1") == 1
        assert site.taken() == [1, 1]
        usual = old.relay.parts().memory.path("fra").usual
        assert usual is not None
        assert new.relay.parts().memory.path("fra").usual == usual
        user.sendall(b"after")
        assert read_exactly(user, 5) == b"after"
        newer = site.move(new)
        user.sendall(b"again")
        assert read_exactly(user, 5) == b"again"
        with site.connect() as other:
            other.sendall(b"x")
            other.shutdown(socket.SHUT_WR)
            assert read_all(other) == b"x"
        user.shutdown(socket.SHUT_WR)
        assert read_all(user) == b""
    lines = site.lines(2)
    assert [(one["up"], one["down"], one["why"]) for one in lines] == [
        (1, 1, "closed"),
        (16, 16, "closed"),
    ]
    assert worker.accepted == 2
    eventually(lambda: site.taken() == [0, 0])
    assert newer.web()["live"] == 0


def test_bulk_and_stalled_readers_lose_nothing(site: Site) -> None:
    """What is held by the relay and in all buffers arrives, in both directions, once."""
    far = Worker(send_bulk)
    hand = site.start(far.target("fra-1"))
    users = [site.connect() for _ in range(6)]
    for user in users:
        user.sendall(b"?")
    whole: list[str] = []

    def read(user: socket.socket) -> None:
        whole.append(hashlib.sha256(read_all(user)).hexdigest())
        user.close()

    readers = [threading.Thread(target=read, args=(user,)) for user in users[:3]]
    for reader in readers:
        reader.start()
    for _ in range(4):  # the other three stall: bytes are held for them
        hand = site.move(hand)
    stalled = [threading.Thread(target=read, args=(user,)) for user in users[3:]]
    for reader in stalled:
        reader.start()
    for reader in (*readers, *stalled):
        reader.join(PATIENCE)
    assert whole == [hashlib.sha256(BULK).hexdigest()] * 6
    assert [one["down"] for one in site.lines(6)] == [len(BULK)] * 6
    far.close()


def test_half_closed_ones_stay_so(site: Site) -> None:
    """A user that has ended still gets its answer; one whose worker has ended may go on."""
    go, heard = threading.Event(), []

    def slow(connection: socket.socket, _: Header | None) -> None:
        heard.append(read_all(connection))
        go.wait(PATIENCE)
        connection.sendall(b"late")

    def first(connection: socket.socket, _: Header | None) -> None:
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        heard.append(read_all(connection))

    for serve, is_user in ((slow, True), (first, False)):
        heard.clear()
        far = Worker(serve)
        hand = site.start(far.target("fra-1"))
        with site.connect() as user:
            user.sendall(b"question")
            if is_user:
                user.shutdown(socket.SHUT_WR)
                eventually(lambda: heard)
                site.move(hand)
                go.set()
                assert read_all(user) == b"late"
            else:
                assert read_all(user) == b"hello"
                site.move(hand)
                user.sendall(b" and more")
                user.shutdown(socket.SHUT_WR)
                eventually(lambda: heard)
        assert heard == [b"question" if is_user else b"question and more"]
        far.close()
        for made in site.hands:
            made.close()
        site.hands.clear()


@pytest.mark.parametrize("linger", [3.0, 20.0])
def test_bytes_before_a_reset_still_arrive_where_another_ends_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, linger: float
) -> None:
    """A worker that resets what it has ended: a user who reads has it all before, for a while."""
    monkeypatch.setattr(flow, "LINGER", linger)
    sent = threading.Event()

    def ends(connection: socket.socket, _: Header | None) -> None:
        connection.recv(1)
        connection.sendall(bytes(300_000))
        connection.shutdown(socket.SHUT_WR)
        sent.wait(PATIENCE)
        reset(connection)

    far = Worker(ends)
    hand = site.start(far.target("fra-1"))
    with site.connect() as user:
        user.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        user.sendall(b"q")
        assert user.recv(1)
        loop = hand.relay.parts().loop
        eventually(lambda: any(side.end_passed for side in loop.sides.values()))
        sent.set()
        eventually(lambda: any(one.reset for one in loop.connections.values()))
        site.move(hand)
        if linger > 10.0:
            assert len(read_exactly(user, 299_999)) == 299_999
        (line,) = site.lines(1)  # without a read of the user it is reset in the end
    assert (line["why"], line["down"]) == ("worker-reset", 300_000)
    far.close()


def test_what_is_being_dialed_is_dialed_by_the_new_one(site: Site) -> None:
    """The user's first bytes are sent once, and the place of the first attempt is given back."""
    far = Worker(echo)
    far.cut()
    hand = site.start(far.target("fra-1"))
    with site.connect() as user:
        user.sendall(b"early")
        eventually(lambda: site.taken() == [1, 1])
        hand = site.move(hand)
        far.mend()
        user.sendall(b" and late")
        assert read_exactly(user, 14) == b"early and late"
        assert site.taken() == [1, 1]
        user.shutdown(socket.SHUT_WR)
        assert read_all(user) == b""
    eventually(lambda: site.taken() == [0, 0])
    assert far.accepted == 1
    far.close()


def test_urgent_data_of_who_is_being_dialed_ends_nothing(site: Site) -> None:
    """The new one reaches a worker at once, before an event has told it of urgent data."""
    far, near = Worker(echo), Worker(echo)
    far.cut()
    hand = site.start(far.target("fra-1"))
    with site.connect() as user:
        user.sendall(b"early")
        eventually(lambda: site.taken() == [1, 1])
        user.send(b" and!", socket.MSG_OOB)
        user.sendall(b" late")
        user.shutdown(socket.SHUT_WR)
        eventually(lambda: all(side.ended for side in clients(hand)))
        site.targets = (near.target("fra-2"),)
        site.move(hand)
        assert read_all(user) == b"early and! late"
    far.close()
    near.close()


def clients(hand: Hand) -> list[Side]:
    """The users' sides of its connections."""
    loop = hand.relay.parts().loop
    return [loop.sides[one.client_fd] for one in loop.connections.values()]


def test_a_local_probe_waits_on(site: Site, worker: Worker) -> None:
    old = site.start(worker.target("fra-1"))
    host, _, port = site.address.partition(":")
    with socket.create_connection((host, int(port)), PATIENCE, (host, 0)) as probe:
        eventually(lambda: old.relay.live == 1)
        new = site.move(old)
        assert worker.accepted == 0
        probe.sendall(b"spoken")
        assert read_exactly(probe, 6) == b"spoken"
        assert new.relay.live == 1


def test_one_whose_worker_left_the_table_goes_on(site: Site) -> None:
    """It counts where it did, and by its own worker's name; likewise one of a service that left."""
    first, second = Worker(echo), Worker(echo)
    old = site.start(first.target("fra-1"))
    with site.connect() as user:
        user.sendall(b"1")
        assert read_exactly(user, 1) == b"1"
        site.targets = (second.target("fra-2"),)
        site.revision += 1
        old.table(site.table())
        new = site.move(old)
        assert new.live("fra/fra-1") == 1
        user.sendall(b"2")
        assert read_exactly(user, 1) == b"2"
        gone = Table(site.revision + 1, "lon1", Bind(), ())
        new.table(gone)
        site.table = lambda: gone  # type: ignore[method-assign]
        site.move(new)
        user.sendall(b"3")
        assert read_exactly(user, 1) == b"3"
    assert [one["worker"] for one in site.lines(1)] == ["fra-1"]
    first.close()
    second.close()


@pytest.mark.parametrize("frozen", [False, True])
def test_the_old_one_goes_on_if_the_new_one_does_not(
    site: Site, worker: Worker, frozen: bool
) -> None:
    old = site.start(worker.target("fra-1"))
    with site.connect() as user:
        user.sendall(b"1")
        assert read_exactly(user, 1) == b"1"
        new = copy(old, site.next)
        if frozen:
            token = freeze(old)
            new.step("adopted")
            user.sendall(b"2")  # nobody takes it now
            old.step("frozen")
            assert handover.claim(token)
        new.close()
        old.send({"type": "keep"})
        user.sendall(b"3")
        wanted = b"23" if frozen else b"3"
        assert read_exactly(user, len(wanted)) == wanted
        again = site.move(old)
        user.sendall(b"4")
        assert read_exactly(user, 1) == b"4"
        assert again.web()["live"] == 1


def test_an_end_during_the_copy_is_seen_at_once(site: Site, worker: Worker) -> None:
    old = site.start(worker.target("fra-1"))
    with site.connect() as user:
        user.sendall(b"1")
        assert read_exactly(user, 1) == b"1"
        new = copy(old, site.next)
        user.shutdown(socket.SHUT_WR)
        assert read_all(user) == b""
    with site.connect() as late:  # it came after the copy
        late.sendall(b"2")
        assert read_exactly(late, 1) == b"2"
        token = freeze(old)
        assert new.step("adopted")["connections"] == 1
        assert handover.claim(token)
        new.send({"type": "serve"})
        old.send({"type": "leave"})
        late.sendall(b"3")
        assert read_exactly(late, 1) == b"3"


def test_an_old_one_without_its_supervisor_waits_for_the_new_one(
    site: Site, worker: Worker
) -> None:
    """If the new one has the token, it ends without a word; else it resets its connections."""
    for taken in (True, False):
        old = site.start(worker.target("fra-1"))
        with site.connect() as user:
            user.sendall(b"1")
            assert read_exactly(user, 1) == b"1"
            new = copy(old, site.next)
            token = freeze(old, 0.2)
            new.step("adopted")
            if taken:
                assert handover.claim(token)
            old.close()
            assert old.ours is not taken
            if taken:
                new.send({"type": "serve"})
                user.sendall(b"2")
                assert read_exactly(user, 1) == b"2"
            else:
                assert handover.claim(token)  # another relay worker may reset its own, too
                new.close()
                with pytest.raises(ConnectionResetError):
                    user.recv(1)
        for hand in site.hands:
            hand.close()
        site.hands.clear()


def test_the_wrong_socket_is_not_taken(site: Site, worker: Worker) -> None:
    old = site.start(worker.target("fra-1"))
    with site.connect() as user, site.connect() as other:
        for one in (user, other):
            one.sendall(b"1")
            assert read_exactly(one, 1) == b"1"
        ours, theirs = handover.pair()
        between = handover.Channel(theirs)
        old.send({"type": "share"}, ours.fileno())
        ours.close()
        message, descriptors = between.receive(time.monotonic() + PATIENCE)
        descriptors[1], descriptors[3] = descriptors[3], descriptors[1]
        ours, theirs = handover.pair()
        new = site.next(theirs)
        new.step("started")
        handover.Channel(ours).send(message, descriptors)
        assert "another's socket" in new.step("failed")["reason"]
        handover.close_all(descriptors)


def test_who_is_at_the_door_goes_on_there(site: Site) -> None:
    """Half a PROXY header, half a hello behind a whole one, and one of a service beside."""
    worker, beside = Worker(echo), Worker(echo)
    region = RegionTargets("fra", (beside.target("beside-1"),))
    proxies = (f"{USER}/32",)
    site.keys = {"accept_proxy": proxies}
    site.others = (
        Service(
            "api",
            (site.address,),
            "v2",
            5.0,
            60.0,
            (region,),
            sni=("api.example",),
            accept_proxy=proxies,
            proxy_tlvs=("authority", "unique-id"),
        ),
    )
    header = encode(("192.0.2.7", 7), ("192.0.2.8", 8), field(UNIQUE_ID, b"id-1"))
    sent = header + hello("api.example", key=1216)
    old = site.start(worker.target("fra-1"))
    cuts = (9, len(header) + 30, len(sent), 0)
    users = [(site.connect(), cut) for cut in cuts]
    for user, cut in users:
        user.sendall(sent[:cut])
    live, _ = users[2]
    assert read_exactly(live, len(sent) - len(header)) == sent[len(header) :]
    eventually(lambda: old.relay.live == len(cuts))
    new = site.move(old)
    for user, cut in users:
        with user:
            user.sendall(sent[cut:])
            if cut != len(sent):
                assert read_exactly(user, len(sent) - len(header)) == sent[len(header) :]
            user.sendall(b"more")
            assert read_exactly(user, 4) == b"more"
    lines = site.lines(len(cuts))
    assert {(line["client"], line["service"]) for line in lines} == {("192.0.2.7:7", "api")}
    assert (worker.errors, beside.errors, worker.accepted) == ([], [], 0)
    assert beside.accepted == len(cuts)
    eventually(lambda: new.relay.live == 0)


def test_who_does_not_go_on_at_the_door_is_ended_in_time(site: Site) -> None:
    worker = Worker(echo)
    site.keys = {"sni": ("api.example",), "hello_timeout": 0.5}
    old = site.start(worker.target("fra-1"))
    with site.connect() as user:
        user.sendall(b"\x16\x03")
        eventually(lambda: old.relay.live == 1)
        site.move(old)
        with pytest.raises(ConnectionResetError):
            user.recv(1)
    assert [line["why"] for line in site.lines(1)] == ["hello-timeout"]
