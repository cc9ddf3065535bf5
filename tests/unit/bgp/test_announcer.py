"""How the announcer goes about a BIRD that comes and goes; with real BIRD it is a lab test."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from edgenode.bgp import announcer
from edgenode.bgp.client import BirdClient, BirdError, BirdUnavailable
from edgenode.bgp.files import FileError
from edgenode.bgp.levels import Level, steps
from edgenode.bgp.replies import Reply
from edgenode.config import Config


class Fleeting:
    """Away twice, then there, but only for a moment each time."""

    connected = False

    def __init__(self) -> None:
        self.tries = 0

    async def connect(self) -> None:
        self.tries += 1
        if self.tries <= 3:
            raise BirdUnavailable("away")


async def test_after_a_connection_the_next_try_comes_soon_again(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []

    class Enough(Exception):
        pass

    def backoff(attempt: int) -> float:
        waited.append(attempt)
        if len(waited) == 5:
            raise Enough
        return 0.0

    async def broken(_: announcer.Announcer) -> None:
        raise BirdUnavailable("gone at once")

    monkeypatch.setattr(announcer, "backoff", backoff)
    monkeypatch.setattr(announcer.Announcer, "_stay", broken)
    tried = announcer.Announcer(config, cast(BirdClient, Fleeting()), passwords={})
    with pytest.raises(Enough):
        await asyncio.wait_for(tried.run(), 2)
    assert waited == [0, 1, 2, 0, 0]


class Obedient:
    """A BIRD that takes everything, and runs with some other text."""

    connected = True
    version = (2, 0, 12)
    socket = Path("/run/bird.ctl")

    def __init__(self) -> None:
        self.told: list[str] = []
        self.when_asked_to_check: Callable[[], None] = lambda: None
        self.says = {"eval": b"0000 another text\n"}
        """By the first words of a command."""

    def submit(
        self, commands: Sequence[str], *, urgent: bool = False
    ) -> list[asyncio.Future[Reply]]:
        self.told += commands
        futures = []
        for command in commands:
            raw = next((r for c, r in self.says.items() if command.startswith(c)), b"0000 \n")
            futures.append(asyncio.get_running_loop().create_future())
            futures[-1].set_result(Reply(int(raw.splitlines()[-1][:4]), raw))
        return futures

    async def ask(self, command: str) -> Reply:
        if command.startswith("configure check"):
            self.when_asked_to_check()
        return await self.submit([command])[0]

    async def ask_all(self, commands: Sequence[str]) -> list[Reply]:
        return [await self.ask(command) for command in commands]


def beside(config: Config, path: Path) -> Config:
    """With BIRD's file in a directory of the test."""
    bgp = config.bgp.model_copy(update={"config": path / "bird.conf"})
    return config.model_copy(update={"bgp": bgp})


async def test_an_announcer_that_was_followed_by_another_configures_no_more(
    config: Config, tmp_path: Path
) -> None:
    """In the middle of it, too: its text would bring back what the other one has withdrawn."""
    bird = Obedient()
    config = beside(config, tmp_path)
    client = cast(BirdClient, bird)
    first = announcer.Announcer(config, client, passwords={})
    second = announcer.Announcer(config, client, passwords={})
    name = config.groups[0].name

    def follow() -> None:
        second.succeed(first, {name: Level.WITHDRAWN})

    bird.when_asked_to_check = follow
    assert await first.configure_running() is False
    assert "configure" not in bird.told
    assert await first.configure_running() is False
    bird.when_asked_to_check = lambda: None
    with pytest.raises(announcer.NotOurConfiguration):  # this BIRD never says that it has ours
        await second.configure_running()
    assert bird.told.count("configure") == 1
    assert second.wanted == {name: Level.WITHDRAWN}


async def test_an_announcer_that_was_followed_by_another_corrects_nothing(config: Config) -> None:
    """It does not know what was withdrawn since."""
    bird = Obedient()
    client = cast(BirdClient, bird)
    first = announcer.Announcer(config, client, passwords={})
    second = announcer.Announcer(config, client, passwords={})
    first._wanted = {config.groups[0].name: Level.NORMAL}
    await first._correct()
    assert any(command.startswith("enable") for command in bird.told)
    bird.told.clear()
    second.succeed(first, {config.groups[0].name: Level.WITHDRAWN})
    await first._correct()
    assert not any(command.startswith("enable") for command in bird.told)


async def test_files_that_could_not_be_mended_are_tried_again(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk may have left levels in them, with which a BIRD that starts would announce."""
    monkeypatch.setattr(announcer, "RECHECK", 0.01)
    tries = 0
    mended = asyncio.Event()

    def write(_: announcer.Announcer, version: object = None) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise FileError("no space left")
        mended.set()

    async def reconcile(_: announcer.Announcer) -> None:
        pass

    class Open(Obedient):
        async def wait_closed(self) -> str:
            await asyncio.Event().wait()
            return ""

    monkeypatch.setattr(announcer.Announcer, "write_config", write)
    monkeypatch.setattr(announcer.Announcer, "reconcile", reconcile)
    tried = announcer.Announcer(config, cast(BirdClient, Open()), passwords={})
    task = asyncio.create_task(tried.run())
    await asyncio.wait_for(mended.wait(), 2)
    assert tried.problem == "", "what BIRD does does not hang on them"
    task.cancel()


async def test_a_configure_is_not_queued_behind_another(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queued text has its levels, and comes after the withdraws that followed it."""
    monkeypatch.setattr(announcer, "LOOK", 0.001)
    bird = Obedient()
    bird.says["show status"] = b"1000-BIRD 2.0.12\n0013 Reconfiguration in progress\n"
    tried = announcer.Announcer(beside(config, tmp_path), cast(BirdClient, bird), passwords={})
    with pytest.raises(BirdError, match="not in force yet"):
        await tried.configure_running()
    assert "configure" not in bird.told
    del bird.says["show status"]
    with pytest.raises(announcer.NotOurConfiguration):
        await tried.configure_running()
    assert bird.told.count("configure") == 1


async def test_of_many_groups_the_withdraws_are_first_and_each_step_is_taken_for_all(
    config: Config, tmp_path: Path
) -> None:
    """Most are announced as normal: with the first step they are gone."""
    web, dns = config.groups
    third = dns.model_copy(update={"name": "mail"})
    many = beside(config, tmp_path).model_copy(update={"groups": (web, dns, third)})
    bird = Obedient()
    tried = announcer.Announcer(many, cast(BirdClient, bird), passwords={})
    levels = {"web": Level.NORMAL, "dns": Level.WITHDRAWN, "mail": Level.WITHDRAWN}
    assert await tried.submit_levels(levels)
    down = [
        f'disable "{name}_v?_{level}"'
        for level in ("normal", "degraded", "drained")
        for name in ("dns", "mail")
    ]
    up = [f'{verb} "web_v?_{level}"' for verb, level in steps(Level.NORMAL)]
    assert bird.told == down + up


async def test_a_withdraw_waits_for_no_configuration(config: Config, tmp_path: Path) -> None:
    """What BIRD was not told while it was away, though its files cannot be written."""
    bird = Obedient()
    bird.says["show protocols"] = (
        b"1002-web_v4_normal Static     master4    up     13:03:34.940\n"
        b" dns_v4_degraded Static     master4    up     13:03:34.940\n0000 \n"
    )
    nowhere = beside(config, tmp_path / "not" / "there")
    tried = announcer.Announcer(nowhere, cast(BirdClient, bird), passwords={})
    tried._wanted = {"web": Level.WITHDRAWN, "dns": Level.NORMAL}
    with pytest.raises(FileError):
        await tried.reconcile()
    assert 'disable "web_v?_normal"' in bird.told
    assert 'enable "dns_v?_normal"' not in bird.told


async def test_a_withdraw_waits_for_no_disk_while_bird_is_configured(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited_in: list[threading.Thread] = []
    monkeypatch.setattr(os, "fsync", lambda _: waited_in.append(threading.current_thread()))
    bird = cast(BirdClient, Obedient())
    tried = announcer.Announcer(beside(config, tmp_path), bird, passwords={})
    with pytest.raises(announcer.NotOurConfiguration):
        await tried.configure_running()
    assert waited_in, "but it is on the disk in the end"
    assert threading.main_thread() not in waited_in
