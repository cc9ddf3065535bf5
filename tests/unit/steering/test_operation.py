"""`edgenode steering` under load: what comes and goes, and what users notice of it."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from edgenode.steering.acceptor import BURST
from edgenode.steering.table import Service, Table, Target
from edgenode.steering.tabledelta import diff
from tests.unit.steering.process import Address, Steering, ask, table
from tests.unit.steering.running import PATIENCE, Worker, echo, eventually, read_exactly

SECONDS = 3.0


class Talker(threading.Thread):
    """A user who says something new all the time, and wants to hear exactly that."""

    def __init__(self, address: Address, seed: int) -> None:
        super().__init__(daemon=True)
        self.said = 0
        self.trouble: BaseException | None = None
        self.stop = False
        self._connection = address.connect()
        self._random = random.Random(seed)
        self.start()

    def run(self) -> None:
        try:
            with self._connection as connection:
                while not self.stop:
                    data = self._random.randbytes(self._random.randrange(1, 100_000))
                    connection.sendall(data)
                    assert read_exactly(connection, len(data)) == data
                    self.said += len(data)
        except BaseException as error:
            self.trouble = error

    def end(self) -> int:
        self.stop = True
        self.join(PATIENCE)
        if self.trouble is not None:
            raise self.trouble
        return self.said


@contextmanager
def echoes(count: int) -> Iterator[list[Target]]:
    with ExitStack() as stack:
        workers = [Worker(echo) for _ in range(count)]
        for worker in workers:
            stack.callback(worker.close)
        yield [worker.target(f"fra-{number}") for number, worker in enumerate(workers, 1)]


def versions(addresses: list[Address], targets: list[Target]) -> Iterator[Table]:
    """Workers, services and their addresses come and go, and one service always has some."""
    for revision in range(2, 1_000_000):
        some = tuple(
            replace(target, weight=1 + revision % 3)
            for number, target in enumerate(targets)
            if (revision + number) % 3
        )
        always = table(revision, addresses[0], targets=some)
        services: list[Service] = [always.services[0]]
        for number, address in enumerate(addresses[1:]):
            if (revision >> number) & 1:
                name = f"web{number}-{revision % 5}"
                more = table(revision, address, targets=some).services[0]
                services.append(replace(more, name=name, idle_timeout=30.0 + revision % 2))
        yield replace(always, services=tuple(services))


def test_what_comes_and_goes_touches_no_live_connection(
    make_steering: Callable[..., Steering],
) -> None:
    """Tables, services, listeners, targets, and control."""
    steering = make_steering(workers=2)
    addresses = [Address(), Address(), Address()]
    with echoes(3) as targets:
        everything = table(1, addresses[0], targets=tuple(targets))
        services = [
            replace(table(1, address, targets=tuple(targets)).services[0], name=f"web{number}")
            for number, address in enumerate(addresses)
        ]
        everything = replace(everything, services=tuple(services))
        control = steering.control()
        assert control.publish(everything)["type"] == "applied"
        talkers = [Talker(addresses[seed % 3], seed) for seed in range(9)]
        before, published = everything, 0
        until = time.monotonic() + SECONDS
        relays = steering.relays()
        for version in versions(addresses, targets):
            if version.revision % 7 == 0:  # control is started anew
                control.__exit__()
                control = steering.control()
                answer = control.publish(version)
            else:
                control.send({"type": "delta", "delta": diff(before, version)})
                answer = control.answer()
            assert (answer["type"], answer["failed"]) == ("applied", {})
            assert ask(addresses[0]) == b"x"
            before, published = version, published + 1
            if time.monotonic() > until:
                break
        control.__exit__()
        assert all(talker.end() > 0 for talker in talkers)
        assert published > 5
        assert steering.relays() == relays
    for address in addresses:
        address.close()


def test_users_who_come_while_a_relay_worker_is_dead_are_served(
    steering: Steering, address: Address, worker: Worker
) -> None:
    with steering.control() as control:
        control.publish(table(1, address, targets=(worker.target("fra-1"),)))
        (relay,) = steering.relays()
        os.kill(relay, signal.SIGKILL)
        users = [address.connect() for _ in range(40)]
        for user in users:
            user.sendall(b"x")
        for user in users:
            assert user.recv(1) == b"x"
            user.close()
        # Whoever killed it, it was not the table.
        assert control.report()["set_aside"] is None


def test_users_who_come_while_one_hangs_are_served_by_the_next(
    steering: Steering, address: Address, worker: Worker
) -> None:
    with steering.control() as control:
        control.publish(table(1, address, targets=(worker.target("fra-1"),)))
        control.publish(table(2, address, targets=(worker.target("fra-2"),)))
        (relay,) = steering.relays()
        os.kill(relay, signal.SIGSTOP)  # within moments after the table, and not by it
        users = [address.connect() for _ in range(40)]
        for user in users:
            user.sendall(b"x")
        for user in users:
            user.settimeout(3 * PATIENCE)
            assert user.recv(1) == b"x"
            user.close()
        assert relay not in steering.relays()
        assert control.report()["set_aside"] is None
        eventually(lambda: control.report()["targets"].keys() == {"fra/fra-2"})


def test_a_drain_serves_whoever_has_come(
    make_steering: Callable[..., Steering], address: Address, worker: Worker
) -> None:
    """Those in the queue and those on their way to a worker, too; health checks are let go."""
    steering = make_steering(drain=PATIENCE)
    silent = Worker(echo)
    other = Address()
    with steering.control() as control:
        live = table(1, address, targets=(worker.target("fra-1"),))
        late = table(1, other, targets=(silent.target("fra-2"),)).services[0]
        late = replace(late, name="late", connect_timeout=PATIENCE)
        control.publish(replace(live, services=(*live.services, late)))
        silent.cut()
        dialing = other.connect()
        dialing.sendall(b"d")
        check = socket.create_connection((address.host, address.port), PATIENCE)
        eventually(lambda: control.report()["services"]["late"]["accepted"] == 1)
        eventually(lambda: control.report()["services"]["web"]["accepted"] == 1)
    (relay,) = steering.relays()
    os.kill(relay, signal.SIGSTOP)
    queued = [address.connect() for _ in range(3 * BURST)]  # more than are taken in two rounds
    for user in queued:
        user.sendall(b"q")
    steering.process.send_signal(signal.SIGTERM)
    eventually(lambda: not steering.socket.exists())
    os.kill(relay, signal.SIGCONT)
    for user in queued:
        assert user.recv(1) == b"q"
        user.sendall(b"r")
        assert user.recv(1) == b"r"
    assert check.recv(1) == b""
    silent.mend()
    assert dialing.recv(1) == b"d"
    with pytest.raises(ConnectionRefusedError):
        address.connect()
    assert steering.process.poll() is None
    for user in (*queued, dialing, check):
        user.close()
    assert steering.process.wait(PATIENCE) == 0
    silent.close()
    other.close()
