"""`edgenode steering` and tables that crash or hang its relay workers."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgenode.steering.table import Table
from edgenode.steering.tabledelta import diff
from tests.unit.steering.process import Address, Steering, ask, table
from tests.unit.steering.running import Worker, eventually

POISONED = """
import os, sys, threading, time
from edgenode.steering import worker
from edgenode.steering.relay import Relay


class Poisoned(Relay):
    def apply(self, table, columns=None):
        super().apply(table, columns)
        names = {service.name for service in table.services}
        if "crash" in names:
            os.abort()
        if "raise" in names:
            raise RuntimeError("poison")
        if "hang" in names:
            time.sleep(3600)
        if "later" in names:
            threading.Timer(0.3, os.abort).start()


worker.Relay = Poisoned
sys.exit(worker.main(sys.argv[1:]))
"""
"""A relay worker that some tables are poison to."""

BEFORE = f"""
from edgenode.steering import process
process.PROGRAM = ("-c", {POISONED!r})
"""


@pytest.fixture
def steering(tmp_path: Path) -> Iterator[Steering]:
    made = Steering(tmp_path, workers=2, before=BEFORE)
    made.start()
    yield made
    made.close()


@pytest.fixture
def make_table(address: Address, worker: Worker) -> Callable[..., Table]:
    def make(revision: int, name: str = "web", weight: int = 1) -> Table:
        targets = (replace(worker.target("fra-1"), weight=weight),)
        made = table(revision, address, targets=targets)
        return replace(made, services=(replace(made.services[0], name=name),))

    return make


class Users:
    """Users who stay, served by both relay workers."""

    def __init__(self, address: Address) -> None:
        self.all: list[socket.socket] = []
        for _ in range(16):
            user = address.connect()
            user.sendall(b"x")
            assert user.recv(1) == b"x"
            self.all.append(user)

    def left(self) -> int:
        """How many are still served."""
        count = 0
        for user in self.all:
            with contextlib.suppress(ConnectionError):
                user.sendall(b"y")
                count += user.recv(1) == b"y"
        return count

    def close(self) -> None:
        for user in self.all:
            user.close()


@pytest.mark.parametrize("poison", ["crash", "raise"])
def test_a_table_that_crashes_a_relay_worker_is_set_aside(
    steering: Steering, address: Address, make_table: Callable[..., Table], poison: str
) -> None:
    good, bad = make_table(1), make_table(2, poison)
    with steering.control() as control:
        control.publish(good)
        steering.saved(1)
        users = Users(address)
        before = steering.relays()
        refused = control.publish(bad)
        assert (refused["type"], refused["revision"]) == ("refused", 2)
        how = "by SIGABRT" if poison == "crash" else "with status 1"
        assert f"has ended {how} while it was the first to have it" in refused["reason"]
        # Nothing but what the one that tried it had is lost, and the others never had it.
        assert 0 < users.left() < 16
        assert len(set(before) & set(steering.relays())) == 1
        eventually(lambda: len(steering.relays()) == 2)
        for _ in range(8):
            assert ask(address) == b"x"
        report = control.report()
        assert report["set_aside"]["revision"] == 2
        assert report["set_aside"]["reason"] == refused["reason"]
        assert report["set_aside_total"] == 1
        # It may be handed over as often as one likes.
        relays = steering.relays()
        for revision in (2, 3):
            refused = control.publish(replace(bad, revision=revision))
            assert (refused["type"], refused["revision"]) == ("refused", revision)
        control.send({"type": "delta", "delta": diff(bad, make_table(4))})
        assert control.answer() == {"type": "whole"}
        assert steering.relays() == relays
        assert ask(address) == b"x"
        users.close()
    # A restart does not begin with it.
    steering.kill()
    steering.start()
    with steering.control() as control:
        eventually(lambda: control.report()["services"].keys() == {"web"})
        assert ask(address) == b"x"
        # Another table is as good as any.
        assert control.publish(make_table(5, weight=2))["revision"] == 5
        assert control.report()["set_aside"] is None


def test_a_table_that_hangs_a_relay_worker_is_set_aside(
    steering: Steering, address: Address, make_table: Callable[..., Table]
) -> None:
    with steering.control() as control:
        control.publish(make_table(1))
        users = Users(address)
        control.send({"type": "table", "table": make_table(2, "hang").to_json()})
        # A newer one waits until it is known what is wrong; nobody has to send it again.
        control.send({"type": "table", "table": make_table(3, weight=3).to_json()})
        began = time.monotonic()
        refused = control.answer()
        assert (refused["type"], refused["revision"]) == ("refused", 2)
        assert "did not answer" in refused["reason"]
        assert time.monotonic() - began > 1.0
        assert control.answer()["revision"] == 3
        # Whoever waited in the queue of the one that hung is served by the next.
        for _ in range(8):
            assert ask(address) == b"x"
        assert 0 < users.left() < 16
        users.close()


def test_a_table_that_crashes_relay_workers_later_is_taken_back(
    steering: Steering, address: Address, make_table: Callable[..., Table]
) -> None:
    with steering.control() as control, contextlib.closing(Address()) as other:
        control.publish(make_table(1))
        time.sleep(0.1)
        bad = table(2, other, targets=make_table(1).services[0].regions[0].workers)
        bad = replace(bad, services=(replace(bad.services[0], name="later"),))
        assert control.publish(bad)["type"] == "applied"
        refused = control.answer()
        assert (refused["type"], refused["revision"]) == ("refused", 2)
        assert "within moments" in refused["reason"]
        assert control.answer()["revision"] == 1
        steering.saved(1)
        # The address that it did not name is listened on again, by all of them.
        eventually(lambda: len(steering.relays()) == 2)
        for _ in range(8):
            assert ask(address) == b"x"
        with pytest.raises(ConnectionRefusedError):
            other.connect()
        assert control.publish(replace(bad, revision=3))["type"] == "refused"


def test_a_first_table_that_is_poison_leaves_steering_waiting(
    tmp_path: Path, address: Address, make_table: Callable[..., Table]
) -> None:
    steering = Steering(tmp_path, before=BEFORE)
    steering.start()
    with steering.control() as control:
        assert control.publish(make_table(1, "crash"))["type"] == "refused"
        with pytest.raises(ConnectionRefusedError):
            address.connect()
        assert not steering.table.exists()
        assert control.publish(make_table(2))["type"] == "applied"
        assert ask(address) == b"x"
    steering.terminate()
    assert steering.process.stderr is not None
    said = steering.process.stderr.read()
    assert "table 1: it was set aside, for relay worker" in said
    assert "there is no other" in said
    assert "table 2 is in force" in said
    steering.close()
