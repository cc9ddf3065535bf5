"""`edgenode steering` as a process, when something around it goes wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable

import pytest

from edgenode.steering.tablesaver import SETTLE
from tests.unit.steering.process import Address, Control, Steering, alive, ask, table
from tests.unit.steering.running import Worker, eventually


def test_more_addresses_than_open_files_allow(
    make_steering: Callable[..., Steering], worker: Worker
) -> None:
    steering, targets = make_steering(files=512), (worker.target("fra-1"),)
    addresses = [Address(f"127.0.0.{host}") for host in range(1, 34)]
    with steering.control() as control:
        refused = control.publish(table(1, *addresses, targets=targets))
        assert (refused["type"], refused["revision"]) == ("refused", 1)
        assert "33 addresses are more than the limit of 512 open files allows" in refused["reason"]
        assert control.publish(table(2, *addresses[:32], targets=targets))["failed"] == {}
        for address in addresses[:32]:
            assert ask(address) == b"x"
    for address in addresses:
        address.close()


DEEP = b"[" * 100_000 + b"]" * 100_000


def test_junk_ends_nothing(steering: Steering, address: Address, worker: Worker) -> None:
    good = table(1, address, targets=(worker.target("fra-1"),)).to_json()
    huge = json.loads(json.dumps(good))
    huge["services"][0]["idle_timeout"] = 10**400
    nested: list[object] = []
    for _ in range(900):
        nested = [nested]
    process = steering.process
    with steering.control() as control:
        for junk in (
            DEEP,
            json.dumps({"type": "table", "table": huge}).encode(),
            json.dumps({"type": "table", "table": good | {"node": nested}}).encode(),
            json.dumps({"type": "table", "table": {"revision": nested}}).encode(),
            json.dumps({"type": nested}).encode(),
        ):
            control.send_line(junk)
            assert control.answer()["type"] == "refused"
    steering.kill()
    for saved in (DEEP, json.dumps(huge).encode()):
        steering.table.write_bytes(saved)
        steering.start()
        with steering.control() as control:
            control.report()
        steering.kill()
    assert process.poll() == -signal.SIGKILL


def test_a_hung_disk_holds_up_nothing(steering: Steering, address: Address, worker: Worker) -> None:
    file = steering.table.with_name("steering-table.json.new")
    os.mkfifo(file)  # opening it waits for a reader
    with steering.control() as control:
        for revision in (1, 2):
            wanted = table(revision, address, targets=(worker.target("fra-1"),))
            assert control.publish(wanted)["type"] == "applied"
            time.sleep(2 * SETTLE)
        assert ask(address) == b"x"
        assert not steering.table.exists()
        with open(file, "rb"):
            steering.terminate()
    assert steering.process.stderr is not None
    assert "cannot save the table" in steering.process.stderr.read()


def test_sighup_opens_the_log_anew(
    make_steering: Callable[..., Steering], address: Address, worker: Worker
) -> None:
    steering = make_steering(workers=2)
    with steering.control() as control:
        control.publish(table(1, address, targets=(worker.target("fra-1"),)))
        assert ask(address) == b"x"
        old = steering.log.rename(steering.log.with_suffix(".1"))
        before = steering.relays()
        steering.process.send_signal(signal.SIGHUP)
        eventually(steering.log.exists)

        def lines_are_in_the_new_one() -> bool:
            ask(address)
            return len(steering.log.read_text().splitlines()) >= 5

        eventually(lines_are_in_the_new_one)
        eventually(lambda: old.read_text())
        # All relay workers have left the old one.
        links = [
            os.readlink(f"/proc/{pid}/fd/{fd}")
            for pid in steering.relays()
            for fd in os.listdir(f"/proc/{pid}/fd")
        ]
        assert links.count(str(steering.log)) == 2
        assert str(old) not in links
        assert steering.relays() == before


def test_sighup_is_harmless_from_the_start(steering: Steering) -> None:
    with steering.control() as control:
        for _ in range(3):
            steering.process.send_signal(signal.SIGHUP)
            assert control.report()


def test_a_second_sigterm_ends_the_drain(
    make_steering: Callable[..., Steering], address: Address, worker: Worker
) -> None:
    steering = make_steering(drain=600.0)
    with steering.control() as control:
        control.publish(table(1, address, targets=(worker.target("fra-1"),)))
    with address.connect() as user:
        user.sendall(b"x")
        assert user.recv(1) == b"x"
        steering.process.send_signal(signal.SIGTERM)
        eventually(lambda: not steering.socket.exists())
        assert steering.terminate() == 0


def test_a_hung_relay_worker_does_not_outlive_the_supervisor(
    steering: Steering, address: Address, worker: Worker
) -> None:
    with steering.control() as control:
        control.publish(table(1, address, targets=(worker.target("fra-1"),)))
    (relay,) = steering.relays()
    with address.connect() as user:
        user.sendall(b"x")
        assert user.recv(1) == b"x"
        os.kill(relay, signal.SIGSTOP)
        steering.process.kill()
        try:
            eventually(lambda: not alive(relay))
        finally:
            if alive(relay):
                os.kill(relay, signal.SIGKILL)
        # It was woken to end in order: what is cut does not look complete.
        with pytest.raises(ConnectionResetError):
            user.recv(1)


def test_a_client_that_asks_and_never_reads_is_dropped(steering: Steering) -> None:
    with steering.control() as control:
        questions = b"\n".join([b'{"type": "status"}'] * 1000)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012
            for _ in range(1000):
                control.send_line(questions)
    with steering.control() as control:
        assert control.report()


def test_a_slow_client_gets_all_answers(steering: Steering) -> None:
    with Control(steering.socket) as control:
        for _ in range(300):
            control.send({"type": "status"})
        for _ in range(300):
            assert control.receive()["type"] == "report"


def test_many_clients_are_no_harm(make_steering: Callable[..., Steering]) -> None:
    """Without a descriptor to accept with it waits; it does not spin."""
    steering = make_steering(files=64)
    clients: list[socket.socket] = []
    with steering.control() as control:
        control.report()
        relays = steering.relays()

        def queue_is_full() -> bool:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            try:
                client.connect(str(steering.socket))
            except BlockingIOError:
                client.close()
                return len(clients) > 50
            clients.append(client)
            return False

        eventually(queue_is_full)
        control.report()
        before = used(steering.process.pid)
        for _ in range(3):
            while control.receive()["type"] != "report":
                pass
        assert used(steering.process.pid) - before < 0.5
        for client in clients:
            client.close()
        with steering.control() as another:
            assert another.report()["relays"][0]["pid"] == relays[0]


def used(pid: int) -> float:
    """Seconds of processor time."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
