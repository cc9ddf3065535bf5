"""Exec checks in a process of their own: what control gets to see of it."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgenode.config import ConfigError, ExecCheck, load
from edgenode.health import Checker, State, Verdict
from edgenode.health.exec import ExecProbe
from edgenode.health.execclient import RunnerProbe, version
from edgenode.health.execrunner import BACKLOG, Commands, Runner
from edgenode.health.kept import Kept
from edgenode.places import listen
from tests.unit.config.test_config import GOOD
from tests.unit.health.fixed import Fixed


async def eventually(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 5 s")


@asynccontextmanager
async def running(path: Path, **commands: tuple[list[str], float]) -> AsyncIterator[None]:
    probes = {name: ExecProbe(command, timeout) for name, (command, timeout) in commands.items()}
    listener = listen(path, BACKLOG)
    task = asyncio.create_task(Runner(Fixed(probes)).serve(listener))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        listener.close()


MORE = {
    "gone": (["sh", "-c", "exit 2"], 5.0),
    "warns": (["false"], 5.0),
    "cannot-look": (["sh", "-c", "exit 3"], 5.0),
}


async def test_a_check_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "exec.sock"
    async with running(path, disk=(["echo", "91% full"], 5.0), **MORE):
        assert path.stat().st_mode & 0o777 == 0o660
        seen = await RunnerProbe(path, "disk", 5.0)()
        assert (seen.ok, seen.reason, seen.timed) == (True, "echo: 91% full", False)
        seen = await RunnerProbe(path, "gone", 5.0)()
        assert (seen.ok, seen.reason) == (False, "sh: exit status 2")
        seen = await RunnerProbe(path, "warns", 5.0)()
        assert (seen.ok, seen.warning) == (True, "false: exit status 1")
        assert not (await RunnerProbe(path, "cannot-look", 5.0)()).known


async def test_no_command_but_the_configured_ones(tmp_path: Path) -> None:
    path = tmp_path / "exec.sock"
    async with running(path, disk=(["true"], 5.0)):
        with pytest.raises(OSError, match="no exec check touch"):
            await RunnerProbe(path, f"touch {tmp_path}/made", 5.0)()
        assert not (tmp_path / "made").exists()


async def test_a_timeout_is_the_commands_failure(tmp_path: Path) -> None:
    async with running(tmp_path / "exec.sock", slow=(["sleep", "60"], 0.2)):
        seen = await RunnerProbe(tmp_path / "exec.sock", "slow", 0.2)()
        assert (seen.ok, seen.timed) == (False, True)


async def test_a_runner_that_is_away_says_nothing_about_the_target(tmp_path: Path) -> None:
    path = tmp_path / "exec.sock"
    with pytest.raises(OSError, match="start it"):
        await RunnerProbe(path, "disk", 1.0)()
    async with running(path):
        pass
    with pytest.raises(OSError, match="start it"):  # its socket is there, and nobody behind it
        await RunnerProbe(path, "disk", 1.0)()


async def test_a_runner_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgenode.health.execclient.MARGIN", 0.1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as hung:
        hung.bind(str(tmp_path / "exec.sock"))
        hung.listen(1)
        with pytest.raises(OSError, match="does not answer"):
            await RunnerProbe(tmp_path / "exec.sock", "disk", 0.1)()


async def test_a_check_keeps_its_state_while_the_runner_is_away_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, verdicts = tmp_path / "exec.sock", list[Verdict]()
    check = ExecCheck(name="disk", type="exec", command=("failing",), interval=0.05, fall=1)
    checker = Checker([check], verdicts.append, path)
    checker.adopt("disk", State.UP)
    task = asyncio.create_task(checker.run())
    try:
        await eventually(lambda: checker.counters()["disk"].errors >= 3)
        assert "start it" in checker.counters()["disk"].trouble
        assert (checker.states()["disk"].state, verdicts) == (State.UP, [])
        assert sum("could not be made" in text for text in caplog.messages) == 1, "said once"
        async with running(path, disk=(["sh", "-c", "exit 2"], 5.0)):
            await eventually(lambda: bool(verdicts))
            assert checker.counters()["disk"].trouble == ""
            assert checker.states()["disk"].state is State.DOWN
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_who_hangs_up_ends_the_run(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    command = ["sh", "-c", f"echo $$ > {mark}; exec sleep 60"]
    async with running(tmp_path / "exec.sock", slow=(command, 60.0)):
        asking = asyncio.create_task(RunnerProbe(tmp_path / "exec.sock", "slow", 60.0)())
        await eventually(lambda: mark.exists() and mark.read_text().strip() != "")
        process = Path("/proc") / mark.read_text().strip()
        assert process.exists()
        asking.cancel()
        started = time.monotonic()
        await eventually(lambda: not process.exists())
        assert time.monotonic() - started < 5.0


async def test_no_more_than_so_many_at_once_and_each_check_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgenode.health.execrunner.MOST", 2)
    path, log = tmp_path / "exec.sock", tmp_path / "log"

    def command(name: str) -> tuple[list[str], float]:
        return ["sh", "-c", f"echo +{name} >> {log}; sleep 0.2; echo -{name} >> {log}"], 5.0

    async with running(path, **{name: command(name) for name in "abc"}):
        asked = [RunnerProbe(path, name, 5.0)() for name in ("a", "a", "b", "c")]
        assert all(seen.ok for seen in await asyncio.gather(*asked))
    present: list[str] = []
    for line in log.read_text().split():
        (present.append if line[0] == "+" else present.remove)(line[1])
        assert len(present) <= 2
        assert len(set(present)) == len(present)


def start(config: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgenode.cli", "exec-runner", "--config", str(config)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def write_config(path: Path, script: str) -> None:
    text = GOOD.replace(
        'name = "lon1"',
        f'name = "lon1"\nrun_dir = "{path.parent}/run"\nstate_dir = "{path.parent}"',
        1,
    )
    text = text.replace('["steering"]', '["steering", "disk"]', 1)
    check = f'\n[[checks]]\nname = "disk"\ntype = "exec"\ncommand = ["sh", "-c", "{script}"]\n'
    path.write_text(text.replace("\n[[checks]]", check + "\n[[checks]]", 1))


def test_a_control_that_runs_with_an_older_text_gets_the_older_command(tmp_path: Path) -> None:
    path = tmp_path / "edgenode.toml"

    def disk(script: str) -> str:
        write_config(path, script)
        return next(version(c) for c in load(path).checks if isinstance(c, ExecCheck))

    first = disk("echo first")
    commands = Commands(path, Kept(tmp_path / "exec"))
    before = commands.probe("disk", first)
    second = disk("echo second, and longer")
    assert commands.probe("disk", first) is before
    assert commands.probe("disk", second) not in (None, before)
    assert commands.probe("disk") is commands.probe("disk", second)
    assert commands.probe("disk", "of a process before") is commands.probe("disk", second)
    path.write_text(path.read_text().replace("disk", "other"))
    assert commands.probe("disk", first) is before, "undone, the check is there again"
    assert commands.probe("disk") is None
    assert commands.probe("gone", first) is None


def test_what_was_read_before_serves_where_the_file_is_damaged_at_the_start(tmp_path: Path) -> None:
    path, kept = tmp_path / "edgenode.toml", Kept(tmp_path / "exec")
    versions = []
    for script in ("echo first", "echo second"):
        write_config(path, script)
        kept.keep(path.read_text())
        versions += [version(c) for c in load(path).checks if isinstance(c, ExecCheck)]
    path.write_text("damaged")
    commands = Commands(path, Kept(tmp_path / "exec"))
    assert commands.run_dir == tmp_path / "run"
    assert commands.probe("disk") is commands.probe("disk", versions[1])
    assert commands.probe("disk", versions[0]) not in (None, commands.probe("disk"))
    with pytest.raises(ConfigError, match="is no TOML"):
        Commands(path, Kept(tmp_path / "none"))


def test_only_the_newest_texts_are_kept_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edgenode.health.kept.MOST", 3)
    kept = Kept(tmp_path / "exec")
    assert kept.texts() == []
    for text in "abacddda":
        kept.keep(text)
    assert kept.texts() == ["c", "d", "a"]
    (tmp_path / "file").write_text("")
    Kept(tmp_path / "file" / "exec").keep("a")
    assert "could not be kept" in caplog.text


def listens(path: Path) -> bool:
    """A socket is there a moment before it can be connected to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.setblocking(False)
        return asking.connect_ex(str(path)) == 0


async def test_the_process_reads_a_changed_file_and_leaves_no_command_behind(
    tmp_path: Path,
) -> None:
    config, mark = tmp_path / "edgenode.toml", tmp_path / "pid"
    path = tmp_path / "run" / "exec" / "exec.sock"
    write_config(config, "echo first")
    with start(config) as process:
        try:
            await eventually(lambda: listens(path))
            assert (await RunnerProbe(path, "disk", 5.0)()).reason == "sh: first"
            with start(config) as second:
                assert await asyncio.to_thread(second.wait, 10) == 1
                assert second.stderr is not None
                assert "another exec-runner is running" in second.stderr.read()
            config.write_text("damaged")
            assert (await RunnerProbe(path, "disk", 5.0)()).reason == "sh: first"
            write_config(config, f"sleep 60 & echo $! > {mark}; wait")
            asking = asyncio.create_task(RunnerProbe(path, "disk", 5.0)())
            await eventually(lambda: mark.exists() and mark.read_text().strip() != "")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 5) == 0
            stat = Path("/proc") / mark.read_text().strip() / "stat"
            await eventually(lambda: not stat.exists() or ") Z " in stat.read_text())
            with pytest.raises(OSError, match="ended in the middle"):
                await asking
            assert not path.exists()
        finally:
            process.kill()
    config.write_text(config.read_text() + "damaged")
    with start(config) as again:
        try:
            await eventually(lambda: listens(path))
            assert "did not end" in (await RunnerProbe(path, "disk", 5.0)()).reason
        finally:
            again.kill()
