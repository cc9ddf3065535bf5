"""A new `edgenode steering` beside the one that runs: it takes over, or the old one goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenode.places import steering_handover
from edgenode.steering.handover.channel import Channel, pair
from edgenode.steering.handover.protocol import Say
from edgenode.steering.handover.taking import HandoverError, Taking
from edgenode.steering.process import is_stopped
from edgenode.steering.proxyprotocol import Header
from tests.unit.steering.handover.versions import Versions
from tests.unit.steering.process import Address, alive, ask, table
from tests.unit.steering.running import (
    PATIENCE,
    Worker,
    echo,
    eventually,
    read_all,
    read_exactly,
)

BULK = random.Random(8).randbytes(8 << 20)
WHOLE = hashlib.sha256(BULK).hexdigest()


def send_bulk(connection: socket.socket, _: Header | None) -> None:
    connection.settimeout(100)  # some users read nothing for longer than others wait
    question = connection.recv(1)
    if question == b"?":
        connection.sendall(BULK)
        connection.shutdown(socket.SHUT_WR)
    else:
        connection.sendall(question)
        echo(connection, None)
    connection.recv(1)


class Users:
    """What users do while steering is replaced: a session, a half-closed one, one that reads
    nothing for a while, transfers with checksums, new ones all the time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self.session = address.connect()
        self.echo(b"session")
        self.half = address.connect()
        self.half.sendall(b"?")
        self.half.shutdown(socket.SHUT_WR)
        self.stalled = address.connect()
        self.stalled.sendall(b"?")
        self.sums: list[str] = []
        self.lost: list[Exception] = []
        self.asked = 0
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._load, args=(i,), daemon=True) for i in range(3)
        ]
        for thread in self._threads:
            thread.start()

    def _load(self, which: int) -> None:
        while not self._stopped:
            try:
                if which == 0:
                    with self._address.connect() as user:
                        user.sendall(b"?")
                        self.sums.append(hashlib.sha256(read_all(user)).hexdigest())
                else:
                    assert ask(self._address, b"x") == b"x"
                    self.asked += 1
                    time.sleep(0.01)
            except (OSError, EOFError, AssertionError) as error:
                self.lost.append(error)

    def echo(self, text: bytes) -> None:
        self.session.sendall(text)
        assert read_exactly(self.session, len(text)) == text

    def end(self) -> int:
        """All is as it should be; how many connections there were."""
        self._stopped = True
        for thread in self._threads:
            thread.join(PATIENCE)
        self.echo(b"at last")
        self.session.shutdown(socket.SHUT_WR)
        assert read_all(self.session) == b""
        for user in (self.half, self.stalled):
            assert hashlib.sha256(read_all(user)).hexdigest() == WHOLE
        for user in (self.session, self.half, self.stalled):
            user.close()
        assert self.lost == []
        assert set(self.sums) <= {WHOLE}
        return 3 + len(self.sums) + self.asked


@pytest.fixture
def versions(tmp_path: Path) -> Iterator[Versions]:
    made = Versions(tmp_path, 2)
    yield made
    made.close()


@pytest.fixture
def far() -> Iterator[Worker]:
    made = Worker(send_bulk)
    yield made
    made.close()


@pytest.fixture
def users(versions: Versions, address: Address, far: Worker) -> Users:
    """Of a first version that serves."""
    versions.begin()
    with versions.control() as control:
        control.publish(table(1, address, targets=(far.target("fra-1"),)))
    return Users(address)


def logged(versions: Versions, number: int) -> None:
    """Each connection has its line, and only one."""

    def lines() -> list[str] | None:
        found = versions.log.read_text().splitlines()
        return found if len(found) >= number else None

    found = eventually(lines)
    assert found is not None
    assert len(found) == number
    assert {json.loads(line)["why"] for line in found} == {"closed"}


def said(versions: Versions, which: int) -> str:
    process = versions.processes[which]
    process.wait(PATIENCE)
    assert process.stderr is not None
    return process.stderr.read()


def test_a_new_version_takes_over(versions: Versions, users: Users, address: Address) -> None:
    handover = steering_handover(versions.run_dir)
    assert stat.S_IMODE(os.stat(handover).st_mode) == 0o600
    first = versions.process
    relays = versions.relays()
    for old in range(2):
        versions.begin()
        assert versions.processes[old].wait(PATIENCE) == 0
        users.echo(b"again")
    assert "Traceback" not in said(versions, 0)
    assert first.returncode == 0
    assert not any(alive(pid) for pid in relays)
    with versions.control() as control:
        report = control.report()
        assert len(report["relays"]) == 2
        number = users.end()
        # The totals are those of all three; each relay worker tells its part at its own time.
        eventually(lambda: control.report()["services"]["web"]["accepted"] == number)
        eventually(lambda: control.report()["services"]["web"]["live"] == 0)
        ends = {"closed": number}
        eventually(lambda: control.report()["figures"]["web"]["endings"] == ends)
        service = control.report()["services"]["web"]
        assert service["accepted"] == service["regions"]["fra"]["connections"] == number
        figures = control.report()["figures"]["web"]
        assert figures["regions"]["fra"]["bytes_up"] == service["bytes_up"] > 0
        assert control.report()["upgrades"] == 2
        assert control.publish(table(2, address, targets=()))["type"] == "applied"
    logged(versions, number)
    assert versions.terminate() == 0
    assert not versions.socket.exists()
    assert not handover.exists()


NEW = ("START", "PREPARE", "LOAD", "COPY", "WAIT", "COPIED", "ADOPT", "READY", "CLAIM", "OWNED")
"""The new one's steps up to the last in which it may fail."""

SOON = ("COPY", "READY", "OWNED")


@pytest.mark.parametrize(
    ("what", "steps"),
    [
        ("KILL", SOON),
        ("STOP", ("ADOPT", "CLAIM")),
        ("RELAY", ("LOAD", "COPIED")),
        ("fail", ("READY",)),
        pytest.param("KILL", NEW, marks=pytest.mark.slow),
        pytest.param("STOP", NEW[4:], marks=pytest.mark.slow),
        pytest.param("RELAY", NEW[1:-1], marks=pytest.mark.slow),
        pytest.param("fail", NEW[:-1], marks=pytest.mark.slow),
    ],
)
def test_a_new_version_that_fails_leaves_all_to_the_old_one(
    versions: Versions, users: Users, what: str, steps: tuple[str, ...]
) -> None:
    old = versions.process
    relays = versions.relays()
    for step in steps:
        new = versions.begin(what, f"new-{step}")
        wait_for_error(old)
        assert new.wait(PATIENCE) != 0
        assert old.poll() is None
        users.echo(b"still")
        versions.processes.remove(new)
        new.communicate()
        assert versions.relays() == relays
    versions.begin()
    assert old.wait(PATIENCE) == 0
    number = users.end()
    logged(versions, number)


def wait_for_error(old: subprocess.Popen[str]) -> None:
    """The old one has said that it goes on."""
    assert old.stderr is not None
    while "could not take over" not in (line := old.stderr.readline()):
        assert line


@pytest.mark.parametrize("step", ["COMMIT", "LEAVE"])
def test_an_old_version_that_is_killed_when_the_new_one_is_ready_costs_nothing(
    versions: Versions, address: Address, far: Worker, step: str
) -> None:
    old = versions.begin("KILL", f"old-{step}")
    with versions.control() as control:
        control.publish(table(1, address, targets=(far.target("fra-1"),)))
    users = Users(address)
    versions.begin()
    assert old.wait(PATIENCE) == -signal.SIGKILL
    users.echo(b"by the new one")
    number = users.end()
    logged(versions, number)


@pytest.mark.parametrize("step", ["STATE", "SHARE", "FREEZE", "FROZEN"])
@pytest.mark.slow
def test_an_old_version_that_is_killed_before_takes_its_connections_with_it(
    versions: Versions, address: Address, far: Worker, step: str
) -> None:
    """As it does without a handover: users see a reset, and no end that looks like one in order."""
    old = versions.begin("KILL", f"old-{step}")
    with versions.control() as control:
        control.publish(table(1, address, targets=(far.target("fra-1"),)))
    with address.connect() as user:
        user.sendall(b"x")
        assert read_exactly(user, 1) == b"x"
        versions.saved(1)
        new = versions.begin()
        assert old.wait(PATIENCE) == -signal.SIGKILL
        assert new.wait(PATIENCE) == 1
        with pytest.raises(ConnectionResetError):
            user.recv(1)
    versions.begin()  # as the service manager does
    eventually(lambda: serves(address))


def test_an_old_version_that_is_stopped_at_the_last_moment_takes_nothing_away(
    versions: Versions, address: Address, far: Worker
) -> None:
    """The new one has begun: what control finds it by is not the old one's to remove."""
    old = versions.begin("TERM", "old-COMMIT")
    with versions.control() as control:
        control.publish(table(1, address, targets=(far.target("fra-1"),)))
    users = Users(address)
    versions.begin()
    assert old.wait(PATIENCE) == 0
    users.echo(b"by the new one")
    with versions.control() as control:
        assert control.report()["upgrades"] == 1
    versions.begin()  # so does the next version
    assert versions.processes[1].wait(PATIENCE) == 0
    logged(versions, users.end())


def serves(address: Address) -> bool:
    try:
        return ask(address) == b"x"
    except OSError:
        return False


def test_another_format_and_too_few_files_are_refused(versions: Versions, users: Users) -> None:
    old = versions.process
    for what, files, reason in (("format", 0, "formats [99]"), ("", 200, "LimitNOFILE")):
        new = versions.begin(what, files=files)
        assert new.wait(PATIENCE) == 1
        told = said(versions, -1)
        assert reason in told
        assert "goes on" in told
        users.echo(b"on")
    assert old.poll() is None
    users.end()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[" * 60000,
        b'{"type": ["hello"]}',
        b'{"type": "hello", "formats": [1], "knows": null, "files": 1000000}',
        b'{"type": "hello", "formats": [1], "knows": [[]], "files": 1000000}',
        b'{"type": "hello", "formats": [1], "knows": [], "files": null}',
    ],
)
def test_nonsense_at_the_door_leaves_the_old_one_as_it_was(versions: Versions, said: bytes) -> None:
    old = versions.begin()
    eventually(steering_handover(versions.run_dir).exists)
    versions.relays()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as end:
        end.settimeout(PATIENCE)
        end.connect(str(steering_handover(versions.run_dir)))
        end.send(said)
        while end.recv(65536):
            pass
    versions.begin()
    assert old.wait(PATIENCE) == 0


def writers(file: Path) -> list[int]:
    """Processes that have it open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(link) == str(file):
                found.append(int(link.parts[2]))
    return found


def test_a_reload_while_another_takes_over(versions: Versions, users: Users) -> None:
    """Its first part opens the old one's log anew, its second is refused with the reason; the
    takeover goes on, and the log that the new one has is the right one."""
    old = versions.process
    new = versions.begin("STOP", "new-COPY")
    eventually(lambda: is_stopped(new.pid))
    moved = versions.log.rename(versions.log.with_suffix(".1"))
    old.send_signal(signal.SIGHUP)
    eventually(versions.log.exists)
    users.echo(b"by the old one")
    refused = versions.begin("replace")
    assert refused.wait(PATIENCE) == 1
    assert "which goes on: another one is taking over" in said(versions, -1)
    versions.processes.remove(refused)
    new.send_signal(signal.SIGHUP)  # nothing yet to open anew
    new.send_signal(signal.SIGCONT)
    assert old.wait(PATIENCE) == 0
    users.echo(b"by the new one")
    eventually(lambda: not writers(moved))
    number = users.end()
    eventually(lambda: lines(moved) + lines(versions.log) == number)


def test_a_refusal_that_came_before_the_question_is_told() -> None:
    old, new = pair()
    with old:
        Channel(old).send({"type": Say.FAILED, "reason": "another one is taking over"})
    with new, pytest.raises(HandoverError, match="another one is taking over"):
        Taking(Channel(new), 1000)
    old, new = pair()
    old.close()
    with new, pytest.raises(HandoverError, match="does not answer"):
        Taking(Channel(new), 1000)


def test_a_log_that_is_rotated_as_the_old_one_leaves_is_rotated(
    versions: Versions, address: Address, far: Worker
) -> None:
    """The service manager has not heard yet that another process is the main one."""
    old = versions.begin("rotate", "old-LEAVE")
    with versions.control() as control:
        control.publish(table(1, address, targets=(far.target("fra-1"),)))
    users = Users(address)
    versions.begin()
    assert old.wait(PATIENCE) == 0
    moved = versions.log.with_suffix(".log.1")
    eventually(lambda: not writers(moved))
    number = users.end()
    eventually(lambda: lines(moved) + lines(versions.log) == number)


def lines(file: Path) -> int:
    return file.read_text().count("\n")


def test_another_number_of_relay_workers_is_that_of_the_old_one(
    versions: Versions, users: Users
) -> None:
    versions.workers = 3
    new = versions.begin()
    assert versions.processes[0].wait(PATIENCE) == 0
    with versions.control() as control:
        assert len(control.report()["relays"]) == 2
    users.end()
    versions.terminate()
    assert new.stderr is not None
    assert "has 2 relay workers, and 3 are wanted" in new.stderr.read()


def test_one_in_the_background_is_waited_for_until_it_serves(
    versions: Versions, users: Users
) -> None:
    old = versions.process
    refused = versions.begin("replace", "new-READY", files=200)
    assert refused.wait(PATIENCE) == 1
    users.echo(b"by the old one")
    asked = versions.begin("replace")
    assert asked.wait(PATIENCE) == 0
    users.echo(b"by the new one")
    assert old.wait(PATIENCE) == 0
    with versions.control() as control:
        relay = control.report()["relays"][0]["pid"]
    new = int(Path(f"/proc/{relay}/stat").read_text().rpartition(")")[2].split()[1])
    assert new not in (old.pid, asked.pid)
    assert os.readlink(f"/proc/{new}/fd/1") == os.devnull  # `$(...)` returns
    users.end()
    os.kill(new, signal.SIGTERM)
    eventually(lambda: not alive(new))
    assert versions.begin("replace").wait(PATIENCE) == 1
    assert "no edgenode steering runs" in said(versions, -1)
