"""One configuration after the other, without BIRD or lifeline: what runs, and what a start would.

With both, and a neighbor, it is a lab test.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from edgenode.api.configuration import ApplyError
from edgenode.api.server import AddressInUse
from edgenode.bgp.announcer import Announcer
from edgenode.bgp.levels import Level
from edgenode.config import Config
from edgenode.control import applier as module
from edgenode.control.applier import Applier
from edgenode.control.control import Control
from edgenode.control.parts import open_parts
from edgenode.control.texts import Texts, choose

TOML = """
[node]
name = "lon1"
run_dir = "{dir}/run"
state_dir = "{dir}"
[bgp]
asn = 64700
router_id = "198.51.100.161"
socket = "{dir}/bird.ctl"
config = "{dir}/bird.conf"
[[bgp.neighbors]]
name = "transit"
address = "198.51.100.2"
asn = 64601
[[groups]]
name = "{group}"
prefixes = ["203.0.113.0/24"]
checks = ["web"]
[[checks]]
name = "web"
type = "tcp"
target = "127.0.0.1:1"
interval = 0.05
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No BIRD to ask, no kernel to prepare; quick."""

    async def examine(_: Announcer, other: Announcer) -> None:
        pass

    monkeypatch.setattr(Announcer, "examine", examine)
    monkeypatch.setattr(module, "prepare", lambda group: None)
    monkeypatch.setattr(module, "PROVEN", 0.3)
    monkeypatch.setattr(module, "LOOK", 0.02)
    monkeypatch.setattr(module, "TAKEN", 0.05)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "edgenode.toml"
    write(path, "old")
    Texts(tmp_path / "control").trust(path.read_text())
    return path


def write(path: Path, group: str, **replaced: str) -> None:
    text = TOML.format(dir=path.parent, group=group)
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


class Metrics:
    in_use = False

    async def serve(self, config: Config) -> None:
        if self.in_use:
            raise AddressInUse("127.0.0.1:9500 cannot be listened on")


@asynccontextmanager
async def running(file: Path, metrics: Metrics | None = None) -> AsyncIterator[Applier]:
    chosen = choose(file)
    parts = open_parts(chosen.config)
    texts = Texts(file.parent / "control")
    made = Applier(file, chosen, texts, parts, None, (metrics or Metrics()).serve)
    task = asyncio.create_task(made.run())
    await asyncio.sleep(0)
    try:
        yield made
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        parts.journal.close()


def now(made: Applier) -> list[str]:
    return list(made.control.groups())


def next_start(file: Path) -> list[str]:
    return [group.name for group in choose(file).config.groups]


def taken(made: Applier) -> None:
    """BIRD runs with it."""
    made._running.announcer.settled.set()


async def eventually(true: Callable[[], Any]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 10 s")


async def test_a_command_that_began_before_holds_under_the_next_configuration(file: Path) -> None:
    async with running(file) as made:
        before = made.control
        write(file, "old", **{"interval = 0.05": "interval = 0.06"})
        await made.apply()
        assert made.control is not before
        made.control._orders.take_over({"old": Level.NORMAL})
        before._give({"old": Level.WITHDRAWN})
        assert made.control._orders.levels == {"old": Level.WITHDRAWN}


async def test_dry_runs_without_end_keep_no_trial_alive(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def examine(_: Announcer, other: Announcer) -> None:
        await asyncio.sleep(0.05)

    monkeypatch.setattr(Announcer, "examine", examine)
    async with running(file) as made:
        write(file, "new")
        await made.apply(confirm=0.2)

        async def again() -> None:
            while True:
                with suppress(ApplyError):
                    await made.apply(dry_run=True)
                await asyncio.sleep(0)

        task = asyncio.create_task(again())
        await eventually(lambda: not made.status()["on_trial"])
        assert now(made) == ["old"]
        task.cancel()


async def test_a_trial_that_nobody_confirms(file: Path) -> None:
    async with running(file) as made:
        write(file, "new")
        answer = await made.apply(confirm=0.3)
        assert '+ groups[new].checks: ["web"]' in answer["difference"]
        assert "BIRD has not taken it yet" in answer["notes"][0]
        assert now(made) == ["new"]
        assert made.status()["on_trial"] is True
        assert next_start(file) == ["old"], "killed now, it is not run again"
        with pytest.raises(ApplyError, match="on trial"):
            await made.apply()
        await eventually(lambda: not made.status()["on_trial"])
        assert now(made) == ["old"]
        assert "nobody confirmed it" in made.status()["problem"]
        with pytest.raises(ApplyError, match="nobody confirmed it"):
            await made.confirm()
    assert next_start(file) == ["old"]


async def test_a_trial_that_is_confirmed(file: Path) -> None:
    async with running(file) as made:
        write(file, "new")
        await made.apply(confirm=0.5)
        with pytest.raises(ApplyError, match=r"BIRD has not taken it yet.*`edgenode undo`"):
            await made.confirm()
        taken(made)
        await made.confirm()
        await asyncio.sleep(0.6)
        assert now(made) == ["new"]
    assert next_start(file) == ["new"]


async def test_what_was_not_on_trial_has_to_prove_itself(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Control, "decides", lambda _: True)
    async with running(file) as made:
        write(file, "new")
        await made.apply()
        await asyncio.sleep(0.5)
        assert next_start(file) == ["old"], "killed now, it is not run again: BIRD never took it"
        taken(made)
        await eventually(lambda: next_start(file) == ["new"])


async def test_what_a_trial_is_undone_to_has_proved_itself(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a control that ends in the trial would leave what was on trial in force."""
    monkeypatch.setattr(Control, "decides", lambda _: True)
    monkeypatch.setattr(module, "PROOF", 0.5)
    confirmed = file.read_text()
    async with running(file) as made:
        write(file, "new")
        await made.apply()
        file.write_text(confirmed)
        with pytest.raises(ApplyError, match=r"has not proved itself.*without --confirm"):
            await made.apply(confirm=60)
        taken(made)
        await made.apply(confirm=60)
        assert now(made) == ["old"]
        assert next_start(file) == ["new"]


async def test_an_end_that_was_asked_for_says_nothing_against_it(file: Path) -> None:
    async with running(file) as made:
        write(file, "new")
        await made.apply()
        made.end()
        assert next_start(file) == ["new"]


async def test_an_end_that_was_asked_for_ends_a_trial(file: Path) -> None:
    async with running(file) as made:
        write(file, "new")
        await made.apply(confirm=60)
        made.end()
        assert next_start(file) == ["old"]


async def test_an_operator_undoes_it(file: Path) -> None:
    async with running(file) as made:
        write(file, "new")
        await made.apply(confirm=60)
        await made.undo("an operator said so")
        assert now(made) == ["old"]
        with pytest.raises(ApplyError, match="an operator said so"):
            await made.undo("again")
        await made.apply()  # said again, it is tried again
        assert now(made) == ["new"]
        assert made.status()["problem"] == ""


async def test_nothing_is_touched_by_a_dry_run_or_a_refusal(file: Path) -> None:
    metrics = Metrics()
    async with running(file, metrics) as made:
        control, text = made.control, file.read_text()
        write(file, "new")
        answer = await made.apply(dry_run=True)
        assert answer["applied"] is False
        with pytest.raises(ApplyError, match="another text"):
            await made.apply(expected="0" * 64)
        metrics.in_use = True
        with pytest.raises(ApplyError, match="cannot be listened on"):
            await made.apply()
        assert next_start(file) == ["new"], "it was not run, and so is not doubted"
        write(file, "new", lon1="ams1")
        with pytest.raises(ApplyError, match=r"restart edgenode\.target"):
            await made.apply()
        file.write_text("damaged")
        with pytest.raises(ApplyError, match="is no TOML"):
            await made.apply()
        await made.reload()
        assert "not applied" in made.status()["problem"]
        file.write_text(text)
        assert (await made.apply())["difference"] == []
        assert made.control is control
        assert made.status()["problem"] == ""


async def test_a_file_system_that_is_away_is_said_and_nothing_hangs(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = threading.Event()
    monkeypatch.setattr(module, "IN_TIME", 0.2)
    async with running(file) as made:
        monkeypatch.setattr(module, "read", lambda _: back.wait(30))
        with pytest.raises(ApplyError, match=r"could not be read within 0\.2 s"):
            await made.apply()
        # No thread is taken from what stores intents, and the next one is answered, too.
        assert await asyncio.wait_for(asyncio.to_thread(lambda: True), 1)
        with pytest.raises(ApplyError, match="could not be read"):
            await made.apply()
        back.set()


async def test_a_full_disk_refuses_and_says_so(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(file) as made:
        write(file, "new")
        (file.parent / "control" / "doubt.json.new").mkdir()
        with pytest.raises(ApplyError, match="cannot be written"):
            await made.apply(confirm=60)
        assert now(made) == ["old"]


async def test_states_and_connections_go_on(file: Path) -> None:
    async with running(file) as made:
        before = made.control
        await eventually(lambda: before.status()["checks"][0]["state"] == "down")
        write(file, "new")
        await made.apply()
        after = made.control.status()
        assert after["checks"][0]["state"] == "down"
        assert after["groups"][0]["level"] == "withdrawn"
        assert after["configuration"]["file"] == str(file)
        assert made.control is not before


async def test_who_asked_may_go_away_and_it_is_still_one_after_the_other(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(_: object) -> None:
        entered.set()
        leave.wait(3)

    monkeypatch.setattr(module, "prepare", slow)
    async with running(file) as made:
        write(file, "new")
        asked = asyncio.create_task(made.apply(confirm=60))
        await eventually(entered.is_set)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        write(file, "newer")
        with pytest.raises(ApplyError, match="just being applied"):
            await made.apply()
        leave.set()
        await eventually(lambda: made.status()["on_trial"])
        assert now(made) == ["new"]


async def test_an_undo_that_fails_is_tried_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unlucky(Control):
        tries = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            Unlucky.tries += 1
            if Unlucky.tries == 1:
                raise RuntimeError("by a fault of ours")
            super().__init__(*args, **kwargs)

    async with running(file) as made:
        write(file, "new")
        await made.apply(confirm=0.1)
        monkeypatch.setattr(module, "Control", Unlucky)
        await eventually(lambda: now(made) == ["old"])
        assert Unlucky.tries == 2
        assert made.status()["on_trial"] is False
