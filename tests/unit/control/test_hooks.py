"""Hooks: told of each change by exec-runner, in order, and never in anybody's way."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import Hook, load
from edgenode.control.hooks import WAITING, Hooks
from edgenode.health.execclient import run_hook, version
from edgenode.health.execrunner import BACKLOG, Commands, Runner, question
from edgenode.health.kept import Kept
from edgenode.places import listen
from tests.unit.config.test_config import GOOD
from tests.unit.health.fixed import Fixed


@asynccontextmanager
async def running(path: Path, **commands: list[str]) -> AsyncIterator[None]:
    listener = listen(path, BACKLOG)
    task = asyncio.create_task(Runner(Fixed({}, commands)).serve(listener))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        listener.close()


async def eventually(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 5 s")


def hooks(path: Path, **values: Any) -> Hooks:
    hook = Hook.model_validate({"name": "page", "command": ("-",)} | values)
    return Hooks([hook], "lon1", path)


def writing(
    log: Path, what: str = "$EDGENODE_NAME:$EDGENODE_PREVIOUS-$EDGENODE_STATE"
) -> list[str]:
    return ["sh", "-c", f'echo "{what}" >> {log}']


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


async def test_the_facts_are_in_the_environment_and_no_shell_reads_them(tmp_path: Path) -> None:
    log, path = tmp_path / "log", tmp_path / "exec.sock"
    evil = f"status $(touch {tmp_path}/made); `id` 'x' \"y\"\nEDGENODE_STATE=up"
    async with running(path, page=["sh", "-c", f"env | grep EDGENODE_ >> {log}"]):
        one = hooks(path)
        one.tell("check", "nginx", "down", evil)
        await eventually(lambda: len(lines(log)) == 7)
    facts = dict(line.split("=", 1) for line in lines(log))
    assert float(facts.pop("EDGENODE_TIME")) == pytest.approx(time.time(), abs=10)
    assert facts == {
        "EDGENODE_NODE": "lon1",
        "EDGENODE_KIND": "check",
        "EDGENODE_NAME": "nginx",
        "EDGENODE_STATE": "down",
        "EDGENODE_PREVIOUS": "unknown",
        "EDGENODE_REASON": evil.replace("\n", " "),
    }
    assert not (tmp_path / "made").exists()


async def test_changes_come_in_order_and_each_hook_gets_what_it_asks_for(tmp_path: Path) -> None:
    log, path = tmp_path / "log", tmp_path / "exec.sock"
    async with running(path, page=writing(log)):
        one = hooks(path, on=("group",), only=("web", "dns"))
        one.know("group", "dns", "normal")
        one.tell("group", "web", "normal", "up")
        one.tell("check", "web", "down", "no group")
        one.tell("group", "mail", "normal", "not asked for")
        one.tell("group", "dns", "normal", "no change")
        one.tell("group", "web", "drained", "by the operator")
        one.tell("group", "web", "withdrawn", "drained")
        await eventually(lambda: len(lines(log)) == 3)
        await asyncio.sleep(0.1)
    assert lines(log) == [
        "web:withdrawn-normal",
        "web:normal-drained",
        "web:drained-withdrawn",
    ]


async def test_a_hook_that_hangs_holds_up_nobody_and_the_oldest_changes_are_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, path = tmp_path / "log", tmp_path / "exec.sock"
    async with running(path, page=["sh", "-c", f"echo $EDGENODE_STATE >> {log}; sleep 60"]):
        one = hooks(path, timeout=0.3)
        started = time.monotonic()
        for n in range(10 * WAITING):
            one.tell("check", "nginx", f"state-{n}", "")
        assert time.monotonic() - started < 0.5
        await eventually(lambda: len(lines(log)) >= 1)
        assert lines(log)[0] == f"state-{9 * WAITING}"
        one.close()
    assert sum("the oldest are dropped" in text for text in caplog.messages) == 1


async def test_a_failure_is_said_once_until_it_works_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgenode.control.hooks.PAUSE", 0.01)
    caplog.set_level("INFO")
    path, works = tmp_path / "exec.sock", tmp_path / "works"
    one = hooks(path)

    def said(what: str) -> int:
        return sum(what in text for text in caplog.messages)

    for state in ("down", "up"):
        one.tell("check", "nginx", state, "")
    await eventually(lambda: said("hook page: edgenode exec-runner is away") == 1)
    await asyncio.sleep(0.2)
    assert said("hook page") == 1
    async with running(path, page=["test", "-e", str(works)]):
        works.touch()
        one.tell("check", "nginx", "down", "")
        await eventually(lambda: said("works again") == 1)
        works.unlink()
        for state in ("up", "down"):
            one.tell("check", "nginx", state, "")
        await eventually(lambda: said("hook page: test: exit status 1") == 1)
        await asyncio.sleep(0.2)
    assert said("exit status 1") == 1


async def test_a_runner_that_is_back_in_time_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgenode.control.hooks.PAUSE", 0.2)
    log, path = tmp_path / "log", tmp_path / "exec.sock"
    hooks(path).tell("check", "nginx", "down", "")
    await asyncio.sleep(0.05)
    async with running(path, page=writing(log)):
        await eventually(lambda: lines(log) == ["nginx:unknown-down"])


async def test_the_runner_runs_the_configured_hooks_alone_with_facts_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "exec.sock"
    async with running(path, page=["true"]):
        assert (await run_hook(path, "page", {"name": "x"}, 5.0)).ok
        with pytest.raises(OSError, match="there is no hook sh"):
            await run_hook(path, "sh", {}, 5.0)
        with pytest.raises(OSError, match="no hook is told LD_PRELOAD"):
            await run_hook(path, "page", {"LD_PRELOAD": "/tmp/x.so"}, 5.0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as odd:
            odd.setblocking(False)
            odd.connect(str(path))
            odd.send(b'{"hook": ["page"], "facts": 7}')
            answer = json.loads(await asyncio.get_running_loop().sock_recv(odd, 8192))
            assert "not understood" in answer["error"]


@given(st.binary(max_size=200) | st.text().map(lambda text: f'{{"hook": "{text}"'.encode()))
def test_whatever_is_asked_is_a_question_or_a_clear_refusal(raw: bytes) -> None:
    try:
        asked = question(raw)
    except ValueError as error:
        assert "hook" in str(error)  # noqa: PT017
    else:
        assert asked.kind in {"exec check", "hook"}


@given(st.text(), st.text())
def test_what_reaches_a_command_is_short_printable_and_its_own(name: str, reason: str) -> None:
    raw = json.dumps({"hook": "page", "facts": {"name": name, "reason": reason}}).encode()
    facts = question(raw).facts
    assert facts is not None
    assert facts.keys() == {"EDGENODE_NAME", "EDGENODE_REASON"}
    assert all(value.isprintable() and len(value) <= 200 for value in facts.values())


async def test_an_undo_brings_the_hooks_command_back(tmp_path: Path) -> None:
    path = tmp_path / "edgenode.toml"
    hook = '\n[[hooks]]\nname = "page"\ncommand = ["/bin/echo", "{}"]\n'
    path.write_text(GOOD + hook.format("first"))
    commands = Commands(path, Kept(tmp_path / "exec"))
    (first,) = load(path).hooks
    path.write_text(GOOD + hook.format("the second"))
    for meant, said in ((version(first), "first"), ("", "the second")):
        probe = commands.hook("page", {}, meant)
        assert probe
        assert (await probe()).reason == f"/bin/echo: {said}"
