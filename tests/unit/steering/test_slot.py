"""When a relay worker is started, killed and told all anew; its process replaced."""

from __future__ import annotations

import errno
import os
import selectors
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgenode.steering import slot as slot_module
from edgenode.steering.channel import Channel, Message
from edgenode.steering.fleet import Fleet
from edgenode.steering.occupancy import Register
from edgenode.steering.process import Process, Seat
from edgenode.steering.rollout import Fault
from edgenode.steering.slot import BEAT_TIMEOUT, Change, Slot, restart_delay
from edgenode.steering.table import Bind, Service, Table

LISTEN = "192.0.2.1:80"
TABLE = Table(1, "lon1", Bind(), (Service("web", (LISTEN,), "none", 1.0, 60.0, ()),))


class FakeProcess:
    """Neither beats nor ends, unless told to."""

    def __init__(self, limit: int, access_log: Path | None, seat: Seat, now: float) -> None:
        ours, self.theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.pid, self.pidfd = 1, os.eventfd(0)
        self.started = self.beat = now
        self.told = self.applied = self.confirmed = 0
        self.heard = self.silent = self.dying = False
        self.takes_deltas = False
        self.counters: dict[str, object] = {}
        self.ejections: list[dict[str, object]] = []
        self.kills = 0

    def kill(self) -> None:
        self.dying = True
        self.kills += 1


class Notes:
    """What a slot's owner is told."""

    def __init__(self) -> None:
        self.of_tables: list[int] = []

    def heard(self, row: int) -> None:
        pass

    def confirmed(self, row: int, number: int, now: float) -> None:
        self.of_tables.append(number)

    def ended(self, row: int, process: Process, how: str, fault: Fault, now: float) -> None:
        pass


@pytest.fixture
def slot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slot]:
    """One that has started its process at 100 s."""
    monkeypatch.setattr(slot_module, "Process", FakeProcess)
    with selectors.DefaultSelector() as selector:
        made = Slot(selector, 10, None, Seat(Register(1), 0), Notes())
        made.tend(100.0)
        yield made
        fake = process(made)
        fake.channel.close()
        fake.theirs.close()
        os.close(fake.pidfd)


def process(slot: Slot) -> FakeProcess:
    assert isinstance(slot.process, FakeProcess)
    return slot.process


def tend_until(slot: Slot, start: float, end: float) -> None:
    """Once a second, as the supervisor does."""
    now = start
    while now <= end:
        slot.tend(now)
        now += 1.0


def test_one_that_is_silent_for_too_long_is_killed(slot: Slot) -> None:
    tend_until(slot, 101.0, 100.0 + BEAT_TIMEOUT)
    assert process(slot).kills == 0
    assert slot.next_due() == pytest.approx(100.0 + BEAT_TIMEOUT, abs=0.1)
    slot.tend(slot.next_due())
    assert process(slot).kills == 1


def test_the_time_in_which_nobody_looked_does_not_count(slot: Slot) -> None:
    """The whole machine stood still: the process had no time to beat either."""
    slot.tend(101.0)
    slot.tend(161.0)
    assert process(slot).kills == 0
    tend_until(slot, 162.0, 161.0 + BEAT_TIMEOUT)
    assert process(slot).kills == 1
    assert slot.next_due() == float("inf")  # that it ends is an event of its own


@pytest.mark.parametrize(("number", "kills"), [(errno.EMFILE, 1), (errno.EPIPE, 0)])
def test_one_that_lacks_a_message_is_killed(
    slot: Slot, monkeypatch: pytest.MonkeyPatch, number: int, kills: int
) -> None:
    """It must not serve a table without its listeners, and say that all is well."""
    sent: list[str] = []

    def send(self: Channel, message: Message, descriptors: tuple[int, ...] = ()) -> None:
        sent.append(message["type"])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Channel, "send", send)
    with socket.socket() as listener:
        slot.apply(TABLE, 1, {LISTEN: listener})
    assert sent == ["listeners"]
    assert process(slot).kills == kills


@pytest.mark.parametrize("takes", [{}, {"deltas": True}])
def test_a_change_alone_is_sent_to_who_takes_it(slot: Slot, takes: dict[str, bool]) -> None:
    """A relay worker of an older edgenode, put back in place, would pass over it in silence."""
    theirs = Channel(process(slot).theirs)
    slot.apply(TABLE, 1, {})
    theirs.send({"type": "applied", "number": 1, **takes})
    slot._on_channel(selectors.EVENT_READ, 101.0)
    slot.apply(replace(TABLE, revision=2), 2, {}, Change(1, {"base": 1}))
    kinds = [message["type"] for message, _ in theirs.receive() or ()]
    assert kinds == ["table", "delta" if takes else "table"]


def test_nobody_obeys_a_table_while_no_relay_worker_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(limit: int, access_log: Path | None, seat: Seat, now: float) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(slot_module, "Process", fail)
    with selectors.DefaultSelector() as selector:
        fleet = Fleet(selector, 2, 10, None, 1024)
        fleet.tend(100.0)
        assert not fleet.applied(fleet.apply(Table(1, "lon1", Bind(), ())))


def test_the_next_start_waits_longer_and_longer() -> None:
    delays = [restart_delay(ends) for ends in range(10)]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (0.0, 5.0)
