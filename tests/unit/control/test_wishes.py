"""Operators' intents against a real disk, and one that refuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgenode.control.wishes import Wishes
from edgenode.state import NODE, Intent, IntentKind, Intents, Key, StateError

DRAINED, WITHDRAWN = IntentKind.DRAINED, IntentKind.WITHDRAWN
WEB, STATIC = ("web", ""), ("static", "")


def wanted(kind: IntentKind, *groups: str, reason: str = "") -> list[Intent]:
    return [Intent(group, kind, time.time(), reason) for group in groups]


class FullDisk(Intents):
    full = True

    def clear(self, *keys: Key) -> None:
        if self.full:
            raise StateError("the disk is full")
        super().clear(*keys)

    def put(self, *intents: Intent) -> None:
        if self.full:
            raise StateError("the disk is full")
        super().put(*intents)


async def test_a_drain_said_again_does_not_start_over(tmp_path: Path) -> None:
    wishes = Wishes(Intents(tmp_path))
    first = wishes.form(wanted(DRAINED, "web", reason="x"))
    await wishes.save(first)
    await asyncio.sleep(0.01)
    again = wishes.form(wanted(IntentKind.MAINTENANCE, "web", reason="y"))
    assert again[WEB].since == first[WEB].since
    assert again[WEB].reason == "y"


async def test_no_intent_brings_back_what_was_withdrawn(tmp_path: Path) -> None:
    wishes = Wishes(Intents(tmp_path))
    await wishes.save(wishes.form(wanted(WITHDRAWN, "web", reason="fire")))
    for kind in (DRAINED, IntentKind.MAINTENANCE, IntentKind.DEGRADED):
        assert wishes.form(wanted(kind, "web", "static")).keys() == {STATIC}
    assert wishes.form(wanted(WITHDRAWN, "web")).keys() == {WEB}


async def test_a_withdraw_holds_though_the_disk_is_full(tmp_path: Path) -> None:
    store = FullDisk(tmp_path)
    wishes = Wishes(store)
    fresh = wishes.form(wanted(WITHDRAWN, "web", reason="fire"))
    wishes.impose(fresh)
    with pytest.raises(StateError):
        await wishes.save(fresh)
    await wishes.look()
    assert wishes.present == fresh
    store.full = False
    await wishes.look()
    assert Intents(tmp_path).all() == fresh


@pytest.mark.parametrize("left", [None, b""])
async def test_intents_outlast_their_file(tmp_path: Path, left: bytes | None) -> None:
    """Removed, emptied, or on a file system that is not there any more."""
    wishes = Wishes(Intents(tmp_path))
    await wishes.save(wishes.form(wanted(WITHDRAWN, "web", reason="fire")))
    before = dict(wishes.present)
    file = tmp_path / "intents.sqlite"
    file.unlink()
    if left is not None:
        file.write_bytes(left)
    assert await wishes.look() == []
    assert wishes.present == before
    assert Intents(tmp_path).all() == before
    await wishes.forget(before)
    await wishes.look()
    assert not Intents(tmp_path).all()
    assert not wishes.present


async def test_what_the_command_stored_is_heeded_and_so_is_its_end(tmp_path: Path) -> None:
    wishes, command = Wishes(Intents(tmp_path)), Intents(tmp_path)
    intent = Intent("web", WITHDRAWN, 1.0, "control hung", author="ann")
    command.put(intent)
    assert await wishes.look() == [(intent, "withdrawn by ann (control hung)")]
    assert wishes.of("web") == (intent,)
    assert await wishes.forget([WEB, STATIC]) == [intent]
    assert (wishes.present, command.all()) == ({}, {})
    assert await wishes.look() == []


async def test_an_intent_ends_by_itself(tmp_path: Path) -> None:
    wishes = Wishes(Intents(tmp_path))
    intent = Intent("web", DRAINED, 1.0, "", until=time.time() - 1)
    await wishes.save({intent.key: intent})
    assert await wishes.look() == [(intent, "drained ended: its time is over")]
    assert Intents(tmp_path).all() == {}


async def test_a_file_is_maintenance_of_the_node_while_it_is_there(tmp_path: Path) -> None:
    file = tmp_path / "maintenance"
    file.write_bytes(b"new \x1b[31m fans\nsecond line")
    wishes = Wishes(Intents(tmp_path / "state"), file)
    ((intent, text),) = await wishes.look()
    assert (intent.group, intent.kind) == (NODE, IntentKind.MAINTENANCE)
    assert text == f"the node is in maintenance by the file {file} (new ?[31m fans)"
    assert wishes.of("any-group") == (intent,)
    assert await wishes.look() == [], "it is one and the same"
    # A control that comes back finds it as old as it is, and its end even if it was away then.
    again = Wishes(Intents(tmp_path / "state"), file)
    assert again.of("web") == (intent,)
    file.unlink()
    assert await again.look() == [(intent, "maintenance ended")]
    assert Intents(tmp_path / "state").all() == {}


async def test_what_an_operator_wants_is_not_ended_by_a_file(tmp_path: Path) -> None:
    file = tmp_path / "maintenance"
    wishes = Wishes(Intents(tmp_path / "state"), file)
    intent = Intent(NODE, IntentKind.MAINTENANCE, 5.0, "by hand", author="ann")
    await wishes.save({intent.key: intent})
    file.touch()
    await wishes.look()
    file.unlink()
    await wishes.look()
    assert wishes.of("web") == (intent,)


async def test_a_file_of_which_nothing_can_be_known_changes_nothing(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    wishes = Wishes(Intents(tmp_path / "state"), loop)
    assert await wishes.look() == []


async def test_a_full_disk_hides_neither_the_file_nor_what_was_stored(tmp_path: Path) -> None:
    file, store = tmp_path / "maintenance", FullDisk(tmp_path)
    wishes = Wishes(store, file)
    withdraw = wishes.form(wanted(WITHDRAWN, "web"))
    wishes.impose(withdraw)
    stored = Intent("static", WITHDRAWN, 1.0, "by the command, before the disk was full")
    Intents(tmp_path).put(stored)
    file.touch()
    await wishes.look()
    assert {intent.kind for intent in wishes.of("any-group")} == {IntentKind.MAINTENANCE}
    assert wishes.of("static")[0] == stored
    assert wishes.of("web")[0] == withdraw[WEB]


async def test_the_nodes_pause_is_no_intent_of_a_group(tmp_path: Path) -> None:
    wishes = Wishes(Intents(tmp_path))
    pause = Intent(NODE, IntentKind.PAUSED, 1.0, "checker is wrong")
    await wishes.save({pause.key: pause})
    assert wishes.paused == pause
    assert Wishes(Intents(tmp_path)).paused == pause


class SlowDisk(Intents):
    """On which something else happens in the middle of each write."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def put(self, *intents: Intent) -> None:
        super().put(*intents)
        self.meanwhile()

    def clear(self, *keys: Key) -> None:
        super().clear(*keys)
        self.meanwhile()


async def test_a_withdraw_in_the_middle_of_a_release_holds(tmp_path: Path) -> None:
    store = SlowDisk(tmp_path)
    wishes = Wishes(store)
    await wishes.save(wishes.form(wanted(DRAINED, "web")))
    withdraw = wishes.form(wanted(WITHDRAWN, "web", reason="fire"))
    store.meanwhile = lambda: wishes.impose(withdraw)
    await wishes.forget([WEB])
    assert wishes.of("web") == tuple(withdraw.values())
    await wishes.look()
    assert wishes.present == withdraw == Intents(tmp_path).all()


async def test_a_withdraw_that_comes_while_another_is_stored_holds(tmp_path: Path) -> None:
    store = SlowDisk(tmp_path)
    wishes = Wishes(store)
    degraded = wishes.form(wanted(IntentKind.DEGRADED, "web"))
    withdraw = wishes.form(wanted(WITHDRAWN, "web", reason="fire"))
    store.meanwhile = lambda: wishes.impose(withdraw)
    await wishes.save(degraded)
    assert wishes.present == withdraw
    await wishes.save(degraded)  # formed before the withdraw: it has been overtaken
    await wishes.look()
    assert wishes.present == withdraw == Intents(tmp_path).all()


async def test_a_pause_ends_though_the_disk_is_full(tmp_path: Path) -> None:
    pause = Intent(NODE, IntentKind.PAUSED, 1.0, "checker is wrong")
    Intents(tmp_path).put(pause, Intent("web", WITHDRAWN, 1.0, "fire"))
    store = FullDisk(tmp_path)
    wishes = Wishes(store)
    with pytest.raises(StateError):
        await wishes.forget([pause.key, WEB])
    assert wishes.paused is None
    assert wishes.of("web"), "but nothing is announced that the next control would withdraw"
    await wishes.look()
    assert wishes.paused is None
    again = Intent(NODE, IntentKind.PAUSED, 2.0, "wrong again")
    wishes.impose({again.key: again})
    store.full = False
    await wishes.look()
    assert wishes.paused == again == Intents(tmp_path).all()[again.key]
    await wishes.forget([again.key])
    await wishes.look()
    assert Intents(tmp_path).all().keys() == {WEB}
