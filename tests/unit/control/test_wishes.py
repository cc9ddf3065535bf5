"""Operators' intents against a real disk, and one that refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edgenode.control.wishes import Wishes
from edgenode.state import Intent, IntentKind, Intents, StateError

DRAINED, WITHDRAWN = IntentKind.DRAINED, IntentKind.WITHDRAWN


class FullDisk(Intents):
    full = True

    def put(self, *intents: Intent) -> None:
        if self.full:
            raise StateError("the disk is full")
        super().put(*intents)


async def test_a_drain_said_again_does_not_start_over(tmp_path: Path) -> None:
    wishes = Wishes(Intents(tmp_path))
    first = wishes.form(["web"], DRAINED, "x")
    await wishes.save(first)
    await asyncio.sleep(0.01)
    again = wishes.form(["web"], DRAINED, "y")
    assert again["web"].since == first["web"].since
    assert again["web"].reason == "y"


async def test_a_drain_does_not_bring_back_what_was_withdrawn(tmp_path: Path) -> None:
    wishes = Wishes(Intents(tmp_path))
    await wishes.save(wishes.form(["web"], WITHDRAWN, "fire"))
    assert wishes.form(["web", "static"], DRAINED, "reboot").keys() == {"static"}
    assert wishes.form(["web"], WITHDRAWN, "again").keys() == {"web"}


async def test_a_withdraw_holds_though_the_disk_is_full(tmp_path: Path) -> None:
    store = FullDisk(tmp_path)
    wishes = Wishes(store)
    fresh = wishes.form(["web"], WITHDRAWN, "fire")
    wishes.impose(fresh)
    with pytest.raises(StateError):
        await wishes.save(fresh)
    await wishes.look()
    assert wishes.present == fresh
    store.full = False
    await wishes.look()
    assert Intents(tmp_path).all() == fresh


async def test_what_the_command_stored_is_heeded_and_so_is_its_end(tmp_path: Path) -> None:
    wishes, command = Wishes(Intents(tmp_path)), Intents(tmp_path)
    command.put(Intent("web", WITHDRAWN, 1.0, "control hung"))
    await wishes.look()
    assert wishes.present["web"].kind is WITHDRAWN
    assert await wishes.forget(["web", "static"]) == ["web"]
    assert (wishes.present, command.all()) == ({}, {})
