"""`edgenode steering` as a process: tables, relay workers that die, its own death."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from typing import Any

import pytest

from edgenode.places import steering_handover
from edgenode.steering.table import Table
from edgenode.steering.tabledelta import diff
from tests.unit.steering.process import Address, Steering, ask, table
from tests.unit.steering.running import PATIENCE, USER, Worker, echo, eventually, named


def web(report: dict[str, Any]) -> dict[str, Any]:
    service: dict[str, Any] = report["services"]["web"]
    return service


def test_a_table_is_served_and_reported(
    make_steering: Callable[..., Steering], address: Address, worker: Worker
) -> None:
    steering, address6 = make_steering(workers=2), Address("::1")
    with steering.control() as control:
        assert stat.S_IMODE(os.stat(steering.socket).st_mode) == 0o660
        wanted = table(7, address, address6, targets=(worker.target("fra-1"),))
        assert control.publish(wanted) == {
            "type": "applied",
            "revision": 7,
            "failed": {},
            "deltas": True,
        }
        for _ in range(10):
            assert ask(address) == b"x"
            assert ask(address6) == b"x"
        # Reports come without being asked for.
        eventually(lambda: web(control.report())["bytes_up"] == 20)
        report = control.report()
        assert (web(report)["accepted"], web(report)["live"]) == (20, 0)
        assert web(report)["regions"]["fra"]["connections"] == 20
        assert report["targets"]["fra/fra-1"] == {"connect_failures": 0, "live": 0}
        assert [relay["healthy"] for relay in report["relays"]] == [True, True]
        assert (report["accept_errors"], report["log_dropped"]) == (0, 0)
        assert sorted(relay["pid"] for relay in report["relays"]) == sorted(steering.relays())
    assert len(steering.log.read_text().splitlines()) == 20
    address6.close()


def test_a_malformed_table_is_refused_and_the_old_one_goes_on(
    steering: Steering, address: Address, worker: Worker
) -> None:
    with steering.control() as control:
        good = table(1, address, targets=(worker.target("fra-1"),))
        control.publish(good)
        bad = good.to_json() | {"revision": 2, "node": "?"}
        control.send({"type": "table", "table": bad})
        refused = control.answer()
        assert (refused["type"], refused["revision"]) == ("refused", 2)
        assert refused["reason"].startswith("node: '?' is not a name")
        messages: tuple[object, ...] = ({"type": "tableau"}, [], {"type": "table"}, {})
        for nonsense in messages:
            control.send(nonsense)
            assert control.answer()["type"] == "refused"
        assert ask(address) == b"x"


def test_a_change_is_enough_for_who_sent_the_table(
    make_steering: Callable[..., Steering], address: Address
) -> None:
    """All relay workers obey it; of another table than its sender's it is no change."""
    steering = make_steering(workers=2)
    old, new = Worker(named(b"old:")), Worker(named(b"new:"))
    first = table(1, address, targets=(old.target("fra-1"),))
    second = table(2, address, targets=(new.target("fra-1"),))
    third = table(3, address, targets=(new.target("fra-1"), old.target("fra-2")))
    with steering.control() as control, steering.control() as other:
        control.send({"type": "delta", "delta": diff(first, second)})
        assert control.answer() == {"type": "whole"}
        control.publish(first)
        control.send({"type": "delta", "delta": diff(first, second)})
        assert control.answer()["revision"] == 2
        for _ in range(8):  # by either relay worker
            assert ask(address, b"1") == b"new:1"
        control.send({"type": "delta", "delta": diff(first, third)})
        assert control.answer() == {"type": "whole"}
        other.send({"type": "delta", "delta": diff(second, third)})
        assert other.answer() == {"type": "whole"}
        control.send({"type": "delta", "delta": diff(second, third) | {"services": [1]}})
        assert control.answer()["type"] == "refused"
        control.send({"type": "delta", "delta": diff(second, third)})
        assert control.answer()["revision"] == 3
        # What is saved is whole; and so is what a new relay worker gets.
        steering.saved(3)
        assert Table.from_json(json.loads(steering.table.read_text())) == third
        relays = steering.relays()
        for pid in relays:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(steering.relays()) == 2 and not set(relays) & set(steering.relays()))
        assert {ask(address, b"2") for _ in range(20)} == {b"new:2", b"old:2"}
    old.close()
    new.close()


def test_a_failure_is_told_at_once_to_who_wants_it(steering: Steering, address: Address) -> None:
    worker = Worker(echo)
    wanted = table(1, address, targets=(worker.target("fra-1"),)).to_json()
    worker.close()
    with steering.control() as control, steering.control() as other:
        control.send({"type": "table", "table": wanted, "wants": ["failures"]})
        assert control.answer()["type"] == "applied"
        control.receive()  # a report: the next one is a second away
        began = time.monotonic()
        # It may be over before he speaks, or even knows that he is connected.
        with contextlib.suppress(ConnectionError), address.connect() as user:
            user.sendall(b"x")
        assert control.answer() == {"type": "failures", "targets": ["fra/fra-1"]}
        assert time.monotonic() - began < 0.5
        assert {other.receive()["type"] for _ in range(3)} == {"report"}


def test_an_address_that_is_taken_holds_nobody_else_back(
    make_steering: Callable[..., Steering], address: Address, worker: Worker
) -> None:
    steering = make_steering(workers=2)
    with steering.control() as control, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        wanted = table(2, address, targets=(worker.target("fra-1"),)).to_json()
        mail = wanted["services"][0] | {"name": "mail", "listen": [taken]}
        wanted["services"] = [*wanted["services"], mail]
        control.send({"type": "table", "table": wanted})
        applied = control.answer()
        reason = f"cannot listen on {taken}: Address already in use; is another process there?"
        assert (applied["type"], applied["failed"]) == ("applied", {taken: reason})
        assert control.report()["listen_failures"] == {taken: reason}
        assert ask(address) == b"x"
        # It is tried again without another table, and is then served.
        other.close()
        eventually(lambda: control.report()["listen_failures"] == {})
        host, _, port = taken.partition(":")
        for _ in range(8):  # by either relay worker
            with socket.create_connection((host, int(port)), PATIENCE, (USER, 0)) as user:
                user.sendall(b"y")
                assert user.recv(1) == b"y"


def test_only_one_steering_runs(steering: Steering) -> None:
    """Another one that cannot take over does not start."""
    with steering.control():
        eventually(steering_handover(steering.run_dir).exists)
        steering_handover(steering.run_dir).unlink()
        second = steering.start()
        assert second.wait(PATIENCE) == 1
        assert second.stderr is not None
        assert "another edgenode steering runs" in second.stderr.read()
        assert steering.socket.exists()


def test_a_killed_relay_worker_is_replaced(
    steering: Steering, address: Address, worker: Worker
) -> None:
    with steering.control() as control:
        control.publish(table(1, address, targets=(worker.target("fra-1"),)))
        assert ask(address) == b"x"
        eventually(lambda: web(control.report())["accepted"] == 1)
        (relay,) = steering.relays()
        os.kill(relay, signal.SIGSTOP)
        # This user waits in the queue of the listener, which outlives the relay worker.
        with address.connect() as user:
            user.sendall(b"y")
            os.kill(relay, signal.SIGKILL)
            assert user.recv(1) == b"y"
        eventually(lambda: relay not in steering.relays())
        # The totals go on.
        eventually(lambda: web(control.report())["accepted"] == 2)


def test_relay_workers_do_not_outlive_the_supervisor(
    steering: Steering, address: Address, worker: Worker
) -> None:
    with steering.control() as control:
        control.publish(table(1, address, targets=(worker.target("fra-1"),)))
    with address.connect() as user:
        user.sendall(b"x")
        assert user.recv(1) == b"x"
        steering.kill()
        with pytest.raises(ConnectionResetError):
            user.recv(1)


def test_it_serves_from_the_last_table_without_control(
    steering: Steering, address: Address, worker: Worker
) -> None:
    with steering.control() as control:
        control.publish(table(1, address, targets=(worker.target("fra-1"),)))
    steering.saved(1)
    steering.kill()
    assert steering.socket.exists()  # stale: nobody answers
    steering.start()

    def served() -> bool:
        try:
            return ask(address) == b"x"
        except ConnectionError:  # refused, or reset: the killed one's relays were in the way
            return False

    eventually(served)
    with steering.control() as control:
        eventually(lambda: "web" in control.report()["services"])


def test_a_damaged_last_table_is_no_reason_not_to_start(
    steering: Steering, address: Address, worker: Worker
) -> None:
    with steering.control() as control:
        control.publish(table(1, address, targets=(worker.target("fra-1"),)))
    file = steering.table
    steering.saved(1)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert json.loads(file.read_text())["revision"] == 1
    steering.kill()
    file.write_text(file.read_text()[:-10])
    steering.start()
    with steering.control() as control:
        assert control.publish(table(1, address, targets=(worker.target("fra-1"),)))
        assert ask(address) == b"x"
    steering.terminate()
    assert steering.process.stderr is not None
    assert "cannot use the last table" in steering.process.stderr.read()


def test_live_connections_outlive_their_listener(steering: Steering, address: Address) -> None:
    old, new, other = Worker(named(b"old:")), Worker(named(b"new:")), Address()
    with steering.control() as control:
        control.publish(table(1, address, targets=(old.target("fra-1"),)))
        with address.connect() as user:
            user.sendall(b"1")
            assert user.recv(5) == b"old:1"
            control.publish(table(2, other, targets=(new.target("fra-1"),)))
            with pytest.raises(ConnectionRefusedError):
                address.connect()
            assert ask(other, b"2") == b"new:2"
            user.sendall(b"3")
            assert user.recv(5) == b"3"
    other.close()
    old.close()
    new.close()


def test_sigterm_ends_it_at_once(steering: Steering, address: Address, worker: Worker) -> None:
    with steering.control() as control:
        control.publish(table(1, address, targets=(worker.target("fra-1"),)))
    with address.connect() as user:
        user.sendall(b"x")
        assert user.recv(1) == b"x"
        assert steering.terminate() == 0
        with pytest.raises(ConnectionResetError):
            user.recv(1)
    assert not steering.socket.exists()


def test_sigterm_gives_live_connections_the_drain_time(
    make_steering: Callable[..., Steering], address: Address, worker: Worker
) -> None:
    steering = make_steering(drain=PATIENCE)
    with steering.control() as control:
        control.publish(table(1, address, targets=(worker.target("fra-1"),)))
    with address.connect() as user:
        user.sendall(b"x")
        assert user.recv(1) == b"x"
        steering.process.send_signal(signal.SIGTERM)
        eventually(lambda: not steering.socket.exists())

        def refused() -> bool:
            try:
                address.connect().close()
            except ConnectionRefusedError:
                return True
            return False

        eventually(refused)
        user.sendall(b"y")
        assert user.recv(1) == b"y"
    assert steering.process.wait(PATIENCE) == 0
