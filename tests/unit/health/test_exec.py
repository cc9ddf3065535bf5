"""The EXEC probe with real commands: exit status, bounds, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenode.health.exec import ExecProbe


def sh(script: str, limit: float = 5.0) -> ExecProbe:
    return ExecProbe(("/bin/sh", "-c", script), limit)


async def test_a_command_that_ended_in_time_is_no_timeout_of_a_loop_that_was_late() -> None:
    asked = asyncio.create_task(sh("sleep 0.1; echo done", 0.3)())
    await asyncio.sleep(0.05)
    time.sleep(0.5)  # noqa: ASYNC251
    seen = await asked
    assert (seen.ok, seen.reason) == (True, "/bin/sh: done")


async def dies(pid: int) -> bool:
    """Whether a process is dead or a zombie, within a moment: SIGKILL is not waited for."""
    for _ in range(100):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True
        if stat.rpartition(")")[2].split()[0] in "ZX":
            return True
        await asyncio.sleep(0.01)
    return False


def reaped(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


async def read_pid(file: Path) -> int:
    for _ in range(200):
        if file.exists() and file.read_text().endswith("\n"):
            return int(file.read_text())
        await asyncio.sleep(0.01)
    raise AssertionError(f"{file} was not written")


@pytest.mark.parametrize(
    ("script", "ok", "reason"),
    [
        ("exit 0", True, "/bin/sh: exit status 0"),
        ("echo; echo ' all is well '; echo more", True, "/bin/sh: all is well"),
        ("echo disk full >&2; exit 2", False, "/bin/sh: exit status 2: disk full"),
        ("exit 4", False, "/bin/sh: exit status 4"),
        ("echo 'DISK OK - 56% | /=2643MB;5948'", True, "/bin/sh: DISK OK - 56%"),
        ("kill -9 $$", False, "/bin/sh: ended by signal 9 (Killed)"),
        (
            "printf 'bell \\007 and \\377'; exit 2",
            False,
            "/bin/sh: exit status 2: bell   and \ufffd",
        ),
    ],
)
async def test_exit_status_decides_and_the_first_line_is_the_reason(
    script: str, ok: bool, reason: str
) -> None:
    observation = await sh(script)()
    assert (observation.ok, observation.reason) == (ok, reason)
    assert not observation.timed


async def test_a_plugins_warning_is_up_with_a_warning_unless_the_check_says_otherwise() -> None:
    command = ("/bin/sh", "-c", "echo 'DISK WARNING - 91%'; exit 1")
    seen = await ExecProbe(command, 5.0)()
    text = "/bin/sh: exit status 1: DISK WARNING - 91%"
    assert (seen.ok, seen.known, seen.warning) == (True, True, text)
    seen = await ExecProbe(command, 5.0, warning_is_up=False)()
    assert (seen.ok, seen.known, seen.warning, seen.reason) == (False, True, "", text)


async def test_a_plugin_that_could_not_look_says_nothing_of_the_target() -> None:
    command = ("/bin/sh", "-c", "echo no such option; exit 3")
    seen = await ExecProbe(command, 5.0)()
    assert (seen.known, seen.warning) == (False, "/bin/sh: exit status 3: no such option")
    seen = await ExecProbe(command, 5.0, unknown_is_down=True)()
    assert (seen.ok, seen.known) == (False, True)


async def test_missing_command_is_a_failure_and_says_so() -> None:
    observation = await ExecProbe(("/nonexistent/check",), 1.0)()
    assert not observation.ok
    assert observation.reason.startswith("/nonexistent/check: exit status 127: ")
    assert observation.reason.endswith("No such file or directory")


async def test_no_shell_and_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/secret")
    observation = await ExecProbe(("/bin/echo", "$PATH; `id`"), 1.0)()
    assert observation.reason == "/bin/echo: $PATH; `id`"
    assert (await sh('test -z "$NOTIFY_SOCKET" -a -n "$PATH"')()).ok


async def test_hanging_command_is_killed_with_its_grandchildren(
    tmp_path: Path, descriptors: Callable[[], int]
) -> None:
    before = descriptors()
    grandchild = tmp_path / "pid"
    script = f"(sh -c 'echo $$ > {grandchild}; exec sleep 60') & trap '' TERM INT; sleep 60"
    started = time.monotonic()
    observation = await sh(script, 0.4)()
    assert time.monotonic() - started < 1.0
    assert (observation.ok, observation.timed) == (False, True)
    assert observation.reason == "/bin/sh: did not end within 400 ms"
    assert await dies(await read_pid(grandchild))
    assert descriptors() == before


async def test_grandchild_that_keeps_the_output_open_delays_nothing(tmp_path: Path) -> None:
    grandchild = tmp_path / "pid"
    script = f"(echo started; sh -c 'echo $$ > {grandchild}; exec sleep 60') & sleep 0.2; exit 0"
    started = time.monotonic()
    observation = await sh(script)()
    assert time.monotonic() - started < 1.0
    assert (observation.ok, observation.reason) == (True, "/bin/sh: started")
    assert await dies(await read_pid(grandchild))


async def test_flood_of_output_is_ended() -> None:
    started = time.monotonic()
    observation = await sh("head -c 100000000 /dev/zero | tr '\\0' x")()
    assert time.monotonic() - started < 1.0
    assert not observation.ok
    assert observation.reason == "/bin/sh: wrote more than 1024 KiB"


async def test_much_output_is_read_and_cut() -> None:
    observation = await sh("head -c 500000 /dev/zero | tr '\\0' x; exit 1")()
    assert observation.reason == "/bin/sh: exit status 1: " + "x" * 200


async def test_cancelled_probe_leaves_no_process_and_no_descriptor(
    tmp_path: Path, descriptors: Callable[[], int]
) -> None:
    before = descriptors()
    file = tmp_path / "pid"
    task = asyncio.ensure_future(sh(f"echo $$ > {file}; exec sleep 60", 30.0)())
    pid = await read_pid(file)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await dies(pid)
    assert descriptors() == before
    assert reaped(pid)


async def test_stopped_command_is_killed_as_well(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    observation = await sh(f"echo $$ > {file}; kill -STOP $$", 0.3)()
    assert observation.timed
    assert await dies(await read_pid(file))


async def test_command_has_none_of_our_descriptors(listener: socket.socket) -> None:
    """Even of those that were made inheritable by mistake."""
    os.set_inheritable(listener.fileno(), True)
    observation = await sh("exec ls -m /proc/self/fd")()
    # 3 is the directory that `ls` looks at.
    assert observation.reason == "/bin/sh: 0, 1, 2, 3"


async def test_a_command_that_cannot_be_killed_is_not_started_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Stuck in the kernel: played by a kill that does nothing."""
    monkeypatch.setattr("edgenode.health.exec.KILL_WAIT", 0.05)
    real = os.killpg
    monkeypatch.setattr(os, "killpg", lambda pid, number: None)
    file = tmp_path / "pid"
    probe = sh(f"echo $$ >> {file}; exec sleep 60", 0.2)
    assert (await probe()).timed
    pid = await read_pid(file)
    second = await probe()
    assert not second.ok
    assert second.reason == f"/bin/sh: process {pid} does not end when killed"
    assert await read_pid(file) == pid
    monkeypatch.undo()
    real(pid, signal.SIGKILL)
    await asyncio.sleep(0.1)
    file.unlink()
    assert (await probe()).timed  # gone: the check runs again


@settings(max_examples=25)
@given(st.lists(st.text().filter(lambda text: "\0" not in text), max_size=4))
async def test_arguments_reach_the_command_as_they_are_and_no_shell_reads_them(
    arguments: list[str],
) -> None:
    hexed = "".join(text.encode("utf-8", "surrogatepass").hex() + "00" for text in arguments)
    script = "import os, sys; print('=' + b'\\0'.join(map(os.fsencode, sys.argv[1:] + [''])).hex())"
    wanted = f"{sys.executable}: ={hexed}"[:200]
    seen = await ExecProbe((sys.executable, "-c", script, *arguments), 20.0)()
    assert seen.reason[:200] == wanted
