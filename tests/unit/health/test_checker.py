"""The checker: from configuration to verdicts, and what must never become one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from edgenode.config import Check, Endpoint
from edgenode.health import Checker, State, Verdict
from edgenode.health.exec import ExecProbe
from edgenode.health.execrunner import BACKLOG, Runner
from edgenode.health.lag import TOLERANCE
from edgenode.health.observation import Observation
from edgenode.places import listen
from tests.unit.health.fixed import Fixed

EndpointOf = Callable[[socket.socket], Endpoint]
check_of: TypeAdapter[Any] = TypeAdapter(Check)


def check(**values: object) -> Check:
    quick = {"name": "c", "interval": 0.05, "jitter": 0.1, "timeout": 0.5, "rise": 2, "fall": 3}
    made: Check = check_of.validate_python(quick | values)
    return made


class Verdicts:
    def __init__(self) -> None:
        self.all: list[Verdict] = []
        self._new = asyncio.Event()

    def __call__(self, verdict: Verdict) -> None:
        self.all.append(verdict)
        self._new.set()

    async def wait(self, name: str, state: State) -> Verdict:
        async with asyncio.timeout(3):
            while True:
                for verdict in reversed(self.all):
                    if (verdict.check, verdict.state) == (name, state):
                        return verdict
                self._new.clear()
                await self._new.wait()

    def of(self, name: str) -> list[State]:
        return [verdict.state for verdict in self.all if verdict.check == name]


async def eventually(true: Callable[[], bool]) -> None:
    for _ in range(300):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 3 s")


@contextlib.asynccontextmanager
async def running(
    checks: Sequence[Check], on_verdict: Callable[[Verdict], None]
) -> AsyncIterator[Checker]:
    """With a runner of its exec checks beside it, in the same loop."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "exec.sock"
        commands = {c.name: ExecProbe(c.command, c.timeout) for c in checks if c.type == "exec"}
        listener = listen(path, BACKLOG)
        checker = Checker(checks, on_verdict, path)
        runner = asyncio.ensure_future(Runner(Fixed(commands)).serve(listener))
        task = asyncio.ensure_future(checker.run())
        try:
            yield checker
        finally:
            for one in (task, runner):
                one.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await one
            listener.close()


async def test_each_check_has_its_own_verdict(
    listener: socket.socket, closed: Endpoint, endpoint_of: EndpointOf
) -> None:
    checks = [
        check(name="good", type="tcp", target=str(endpoint_of(listener))),
        check(name="bad", type="tcp", target=str(closed)),
        check(name="script", type="exec", command=("/bin/true",)),
    ]
    verdicts = Verdicts()
    async with running(checks, verdicts) as checker:
        assert {v.state for v in checker.states().values()} == {State.UNKNOWN}
        await verdicts.wait("good", State.UP)
        await verdicts.wait("script", State.UP)
        down = await verdicts.wait("bad", State.DOWN)
        assert down.reason == f"connection to {closed} refused"
        assert checker.states()["bad"] == down
        assert checker.counters()["bad"].failed >= 3
        assert checker.counters()["good"].observed_at is not None
    assert [len(verdicts.of(name)) for name in ("good", "bad", "script")] == [1, 1, 1]


async def test_tripwire_beats_the_poll(
    listener: socket.socket, endpoint_of: EndpointOf, answering: Callable[..., Endpoint]
) -> None:
    target = str(endpoint_of(listener))
    verdicts = Verdicts()
    async with running([check(type="tcp", target=target, fall=100)], verdicts):
        await verdicts.wait("c", State.UP)
        died = time.monotonic()
        listener.close()
        down = await verdicts.wait("c", State.DOWN)
        assert down.since - died < 0.1


@pytest.mark.parametrize("removed", [False, True])
async def test_tripwire_on_a_unix_socket_and_its_grace(removed: bool, tmp_path: Path) -> None:
    path, verdicts = tmp_path / "app.sock", Verdicts()
    values = {"type": "http", "url": "http://127.0.0.1/", "unix_socket": path, "fall": 1}
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        checks = [
            check(**values, interval=60),
            check(**values | {"name": "patient"}, restart_grace=0.5, interval=0.1, timeout=0.05),
        ]
        async with running(checks, verdicts) as checker:
            for one in checks:
                checker.adopt(one.name, State.UP)
            await asyncio.sleep(0)
            died = time.monotonic()
            if removed:
                path.unlink()
            server.close()
            assert (await verdicts.wait("c", State.DOWN)).since - died < 0.1
            assert (await verdicts.wait("patient", State.DOWN)).since - died > 0.4


async def test_without_tripwire_the_polls_decide(
    listener: socket.socket, endpoint_of: EndpointOf
) -> None:
    target = str(endpoint_of(listener))
    verdicts = Verdicts()
    async with running([check(type="tcp", target=target, tripwire=False)], verdicts):
        await verdicts.wait("c", State.UP)
        died = time.monotonic()
        listener.close()
        down = await verdicts.wait("c", State.DOWN)
        assert 0.08 < down.since - died < 0.5


async def test_return_is_seen_and_the_wire_is_armed_again(
    listener: socket.socket, endpoint_of: EndpointOf
) -> None:
    target = endpoint_of(listener)
    verdicts = Verdicts()
    async with running([check(type="tcp", target=str(target), fall=100)], verdicts):
        await verdicts.wait("c", State.UP)
        listener.close()
        await verdicts.wait("c", State.DOWN)
        verdicts.all.clear()
        with socket.create_server((str(target.host), target.port)):
            await verdicts.wait("c", State.UP)
        await verdicts.wait("c", State.DOWN)


async def test_restart_grace_outlasts_the_polls(
    listener: socket.socket, endpoint_of: EndpointOf
) -> None:
    """Failing polls do not cut the grace short."""
    target = endpoint_of(listener)
    verdicts = Verdicts()
    checks = [check(type="tcp", target=str(target), fall=1, restart_grace=2.0)]
    async with running(checks, verdicts) as checker:
        await verdicts.wait("c", State.UP)
        listener.close()
        await asyncio.sleep(0.4)
        assert checker.counters()["c"].failed > 2
        with socket.create_server((str(target.host), target.port)):
            await asyncio.sleep(0.3)
            assert verdicts.of("c") == [State.UP]


async def test_a_check_that_did_not_change_goes_on_with_its_state_and_tripwire(
    listener: socket.socket, closed: Endpoint, endpoint_of: EndpointOf
) -> None:
    kept = check(name="kept", type="tcp", target=str(endpoint_of(listener)), fall=100)
    slower = check(name="other", type="tcp", target=str(closed), rise=100, interval=0.02)
    before, after = Verdicts(), Verdicts()
    async with running([kept, check(name="other", type="tcp", target=str(closed))], before) as one:
        await before.wait("kept", State.UP)
        await before.wait("other", State.DOWN)
        counted = one.counters()["kept"].succeeded
        one.on_verdict = after
        one.change([kept, slower, check(name="new", type="tcp", target=str(closed))])
        assert one.states()["kept"].state is State.UP
        assert one.states()["other"].state is State.UNKNOWN
        assert one.counters()["kept"].succeeded >= counted
        await after.wait("new", State.DOWN)
        await after.wait("other", State.DOWN)
        died = time.monotonic()
        listener.close()  # with fall = 100 the tripwire alone can tell
        await after.wait("kept", State.DOWN)
        assert time.monotonic() - died < 0.5
        one.change([])
        assert one.states() == {}
        seen = len(after.of("new"))
        await asyncio.sleep(0.1)
        assert len(after.of("new")) == seen


async def test_a_check_that_is_changed_is_silent_at_once(
    listener: socket.socket, endpoint_of: EndpointOf
) -> None:
    values = {"type": "tcp", "target": str(endpoint_of(listener)), "interval": 60, "rise": 1}
    before, after = Verdicts(), Verdicts()
    async with running([check(**values)], before) as one:
        await before.wait("c", State.UP)
        await asyncio.sleep(0.05)
        listener.close()  # its tripwire has not been looked at yet
        one.on_verdict = after
        one.change([check(**values, fall=100)])
        await asyncio.sleep(0.1)
        assert after.of("c") == []
        assert one.states()["c"].state is State.UNKNOWN


@pytest.mark.parametrize("adopted", [State.UP, State.DOWN])
async def test_adopted_state_stands_until_observed_otherwise(
    adopted: State, listener: socket.socket, endpoint_of: EndpointOf
) -> None:
    verdicts = Verdicts()
    checks = [check(type="tcp", target=str(endpoint_of(listener)), fall=100)]
    checker = Checker(checks, verdicts, Path("-"))
    checker.adopt("c", adopted)
    assert checker.states()["c"].state is adopted
    task = asyncio.ensure_future(checker.run())
    try:
        if adopted is State.UP:
            await asyncio.sleep(0.01)
            listener.close()  # the wire is held from the start
            await verdicts.wait("c", State.DOWN)
        else:
            await verdicts.wait("c", State.UP)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_doubt_is_probed_faster_than_what_is_well(
    listener: socket.socket, endpoint_of: EndpointOf
) -> None:
    """The last results speak against the state: `fall` of them come at the fast interval."""
    target = str(endpoint_of(listener))
    verdicts = Verdicts()
    values = {"interval": 1.0, "fast_interval": 0.02, "rise": 5, "fall": 5, "tripwire": False}
    async with running([check(type="tcp", target=target, **values)], verdicts) as checker:
        # One slot of the first probe, at most a second later, and four fast ones.
        await verdicts.wait("c", State.UP)
        before = checker.counters()["c"].succeeded
        await asyncio.sleep(0.3)
        assert checker.counters()["c"].succeeded <= before + 1, "well: at its usual pace"
        listener.close()
        await eventually(lambda: checker.counters()["c"].failed > 0)
        doubted = time.monotonic()
        down = await verdicts.wait("c", State.DOWN)
        assert down.since - doubted < 0.5
        failed = checker.counters()["c"].failed
        await asyncio.sleep(0.3)
        assert checker.counters()["c"].failed <= failed + 1


@pytest.mark.parametrize("initial", ["up", "down"])
async def test_an_initial_state_holds_until_the_first_verdict(
    initial: str, listener: socket.socket, endpoint_of: EndpointOf, closed: Endpoint
) -> None:
    other = State.DOWN if initial == "up" else State.UP
    target = str(closed if initial == "up" else endpoint_of(listener))
    verdicts = Verdicts()
    values = {"initial": initial, "tripwire": False, "rise": 3, "fall": 3}
    async with running([check(type="tcp", target=target, **values)], verdicts) as checker:
        assert checker.states()["c"].state == initial
        assert not checker.decided("c")
        await verdicts.wait("c", other)
        assert checker.decided("c")


@pytest.mark.parametrize("initial", ["up", "down"])
async def test_an_initial_state_is_that_of_a_start_and_not_of_another_configuration(
    initial: str, listener: socket.socket, endpoint_of: EndpointOf
) -> None:
    values = {"type": "tcp", "target": str(endpoint_of(listener)), "initial": initial}
    usual = {**values, "interval": 60}
    first, other = check(**usual), check(**usual, rise=5)
    checker = Checker((), lambda _: None, Path("-"))
    checker.change([first])
    assert checker.states()["c"].state == initial
    task = asyncio.ensure_future(checker.run())
    await asyncio.sleep(0)
    try:
        checker.change([other, check(**usual | {"name": "new"})])
        assert {v.state for v in checker.states().values()} == {State.UNKNOWN}
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_initially_up_is_proved_wrong_by_the_tripwire_at_once(closed: Endpoint) -> None:
    verdicts = Verdicts()
    started = time.monotonic()
    checks = [check(type="tcp", target=str(closed), initial="up", interval=60, fall=100)]
    async with running(checks, verdicts):
        down = await verdicts.wait("c", State.DOWN)
        assert down.since - started < 0.5


def script(text: str, **values: object) -> Check:
    return check(type="exec", command=("/bin/sh", "-c", text), **values)


async def test_a_warning_stands_beside_the_state_and_is_logged_when_it_comes_and_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    mark, verdicts = tmp_path / "well", Verdicts()
    command = f"test -e {mark} && exit 0; date +%N; exit 1"
    async with running([script(command)], verdicts) as checker:
        await verdicts.wait("c", State.UP)
        await eventually(lambda: checker.counters()["c"].succeeded >= 5)
        assert "exit status 1" in checker.counters()["c"].warning
        mark.touch()
        await eventually(lambda: checker.counters()["c"].warning == "")
        assert verdicts.of("c") == [State.UP]
    said = [text for text in caplog.messages if "warning" in text]
    assert len(said) == 2, said
    assert said[0].startswith("check c: warning: /bin/sh: exit status 1: ")
    assert said[1] == "check c: no warning any more"


async def test_unknown_is_no_verdict_for_a_while_and_then_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgenode.health.watch.KNOWN_WITHIN", 2.0)
    mark, verdicts = tmp_path / "ill", Verdicts()
    command = f"test -e {mark} && exit 3; exit 0"
    async with running([script(command, fall=1)], verdicts) as checker:
        await verdicts.wait("c", State.UP)
        mark.touch()
        ill = time.monotonic()
        await eventually(lambda: checker.counters()["c"].unknown >= 3)
        assert checker.states()["c"].state is State.UP
        assert checker.counters()["c"].errors == 0
        down = await verdicts.wait("c", State.DOWN)
        assert down.since - ill > 1.5
        assert down.reason.startswith("nothing is known of it for 2 s: /bin/sh: exit status 3")
        mark.unlink()
        await verdicts.wait("c", State.UP)


async def test_blocked_loop_is_no_verdict(
    answering: Callable[..., Endpoint],
) -> None:
    """Even with fall = 1: that the answer came too late for us says nothing of the target."""
    endpoint = answering(b"HTTP/1.1 200 OK\r\n\r\n", delay=0.03)
    verdicts = Verdicts()
    checks = [check(type="http", url=f"http://{endpoint}/", timeout=0.1, fall=1, tripwire=False)]
    async with running(checks, verdicts) as checker:
        await verdicts.wait("c", State.UP)
        # A probe is under way for most of the time: most of these blocks fall into one.
        for _ in range(5):
            time.sleep(0.15)  # noqa: ASYNC251 (the very thing that is tested)
            await asyncio.sleep(0.071)
        time.sleep(2)  # noqa: ASYNC251
        await asyncio.sleep(0.2)
        assert verdicts.of("c") == [State.UP]
        assert checker.counters()["c"].late > 0


@contextlib.asynccontextmanager
async def losses() -> AsyncIterator[list[float]]:
    """Seconds that a busy machine keeps the loop from running, one after the other."""
    lost: list[float] = []

    async def measure() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            if (more := time.monotonic() - before - 0.01) > 0.002:
                lost.append(more)

    task = asyncio.ensure_future(measure())
    try:
        yield lost
    finally:
        task.cancel()


async def test_hung_target_is_down_after_its_timeouts(
    answering: Callable[..., Endpoint],
) -> None:
    """Three of them; one is set aside only where the loop really lost a part of it."""
    endpoint = answering(b"", hold=True)
    verdicts = Verdicts()
    checks = [check(type="http", url=f"http://{endpoint}/", timeout=0.1, interval=0.1)]
    started = time.monotonic()
    async with running(checks, verdicts) as checker, losses() as lost:
        down = await verdicts.wait("c", State.DOWN)
        late = checker.counters()["c"].late
        assert 0.3 < down.since - started < 1.5 + 0.3 * late + sum(lost)
        assert "no answer within 100 ms" in down.reason
        assert late * TOLERANCE * 0.1 <= 2 * sum(lost)


async def test_a_bug_in_one_probe_is_no_verdict_and_stops_no_other_check(
    listener: socket.socket, endpoint_of: EndpointOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: object) -> Observation:
        raise ZeroDivisionError

    monkeypatch.setattr("edgenode.health.execclient.RunnerProbe.__call__", broken)
    checks = [
        check(name="broken", type="exec", command=("/bin/true",), fall=1),
        check(name="good", type="tcp", target=str(endpoint_of(listener))),
    ]
    verdicts = Verdicts()
    async with running(checks, verdicts) as checker:
        checker.adopt("broken", State.UP)
        await verdicts.wait("good", State.UP)
        await asyncio.sleep(0.2)
        assert verdicts.of("broken") == []
        assert checker.counters()["broken"].errors >= 2
        assert "ZeroDivisionError" in checker.counters()["broken"].trouble
        assert checker.counters()["good"].trouble == ""
        assert checker.states()["broken"].state is State.UP


async def test_verdict_that_is_not_taken_is_counted_and_stands(
    listener: socket.socket, endpoint_of: EndpointOf
) -> None:
    def refuse(verdict: Verdict) -> None:
        raise RuntimeError("no room")

    checks = [check(type="tcp", target=str(endpoint_of(listener)))]
    async with running(checks, refuse) as checker:
        await eventually(lambda: checker.states()["c"].state is State.UP)
        listener.close()
        await eventually(lambda: checker.states()["c"].state is State.DOWN)
        assert checker.counters()["c"].errors == 2


async def test_success_from_before_the_proof_counts_for_nothing(
    listener: socket.socket, endpoint_of: EndpointOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll that was under way when the tripwire proved the death, and ends well after it."""
    release = asyncio.Event()

    async def slow(self: object) -> Observation:
        await release.wait()
        return Observation(True, "connected, back then", 0.1)

    monkeypatch.setattr("edgenode.health.tcp.TcpProbe.__call__", slow)
    verdicts = Verdicts()
    checks = [check(type="tcp", target=str(endpoint_of(listener)), rise=1, interval=0.5)]
    async with running(checks, verdicts) as checker:
        checker.adopt("c", State.UP)
        await asyncio.sleep(0.55)  # the first probe began
        listener.close()
        await verdicts.wait("c", State.DOWN)
        release.set()
        await asyncio.sleep(0.01)
        assert verdicts.of("c") == [State.DOWN]


async def test_cancelled_checker_leaves_nothing(
    listener: socket.socket,
    endpoint_of: EndpointOf,
    answering: Callable[..., Endpoint],
    descriptors: Callable[[], int],
    tmp_path: Path,
) -> None:
    file = tmp_path / "pid"
    hung = answering(b"", hold=True)
    await asyncio.sleep(0)
    before, tasks = descriptors(), asyncio.all_tasks()
    checks = [
        check(name="tcp", type="tcp", target=str(endpoint_of(listener)), rise=1),
        check(name="http", type="http", url=f"http://{hung}/", timeout=5),
        check(
            name="exec",
            type="exec",
            command=("/bin/sh", "-c", f"echo $$ > {file}; exec sleep 60"),
            timeout=30,
        ),
    ]
    verdicts = Verdicts()
    async with running(checks, verdicts):
        await verdicts.wait("tcp", State.UP)
        await eventually(lambda: file.exists() and file.read_text().endswith("\n"))
        assert descriptors() > before
    assert asyncio.all_tasks() == tasks
    # The server of this test holds its end of the HTTP probe's connection.
    assert descriptors() <= before + 1
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)


ORPHAN = """
import asyncio, socket, sys
from pathlib import Path
from pydantic import TypeAdapter
from edgenode.config import Check
from edgenode.health import Checker
from edgenode.health.exec import ExecProbe

async def main():
    server = socket.create_server(("127.0.0.1", 0))
    script = f"echo $$ > {sys.argv[1]}.new; mv {sys.argv[1]}.new {sys.argv[1]}; exec sleep 60"
    check = {"name": "t", "type": "tcp", "target": f"127.0.0.1:{server.getsockname()[1]}",
             "rise": 1, "interval": 0.01}
    checker = Checker([TypeAdapter(Check).validate_python(check)], print, Path("-"))
    await asyncio.gather(ExecProbe(["/bin/sh", "-c", script], 50)(), checker.run())

asyncio.run(main())
"""


def test_command_left_behind_by_a_killed_process_holds_nothing_of_it(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    process = subprocess.Popen([sys.executable, "-c", ORPHAN, str(file)])
    orphan = 0
    try:
        for _ in range(500):
            if file.exists():
                break
            time.sleep(0.01)
        orphan = int(file.read_text())
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=5)
        links = {
            int(fd): os.readlink(f"/proc/{orphan}/fd/{fd}")
            for fd in os.listdir(f"/proc/{orphan}/fd")
        }
        assert set(links) == {0, 1, 2}
        assert links[0] == "/dev/null"
        assert links[1] == links[2]
        assert links[1].startswith("pipe:")
    finally:
        process.kill()
        process.wait()
        if orphan:
            os.kill(orphan, signal.SIGKILL)
