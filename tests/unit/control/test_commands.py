"""The order of things in a command: the guard, BIRD, the disk; and what is said of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from edgenode.api.requests import Request
from edgenode.api.server import LastSite
from edgenode.bgp.lastsite import Judgement, Outlook
from edgenode.bgp.levels import Level
from edgenode.control.commands import Commands
from edgenode.control.wishes import Wishes
from edgenode.state import NODE, Intent, IntentKind, Intents, StateError

DRAINED, WITHDRAWN, DEGRADED = IntentKind.DRAINED, IntentKind.WITHDRAWN, IntentKind.DEGRADED


class FullDisk(Intents):
    def put(self, *intents: Intent) -> None:
        raise StateError("the disk is full")


class Node:
    """A control that notes what is done, in its order."""

    def __init__(self, path: Path, outlook: Outlook = Outlook.ELSEWHERE, full: bool = False):
        self.done: list[str] = []
        self.outlook = outlook
        self.problem = ""
        self.wishes = Wishes(FullDisk(path) if full else Intents(path))
        self.levels = {"web": Level.NORMAL, "static": Level.WITHDRAWN}
        self.commands = Commands(
            self.wishes,
            lambda: self.levels,
            self.others,
            self.give,
            lambda: self.done.append("decide"),
            self.degrade_towards,
            lambda names: self.done.append(f"waive {' '.join(names)}"),
            lambda kind, subject, text: self.done.append(f"note {subject}: {text}"),
        )

    async def others(self, groups: Iterable[str]) -> Mapping[str, Judgement]:
        self.done.append(f"look {' '.join(groups)}")
        known = Judgement(self.outlook, "192.0.2.0/24 …", "transit tells nothing")
        return {f"192.0.{number}.0/24": known for number in range(7)}

    def give(self, levels: Mapping[str, Level]) -> None:
        self.done.append("give " + " ".join(f"{n} {level}" for n, level in levels.items()))

    async def degrade_towards(self) -> str:
        return self.problem


async def test_a_withdraw_goes_out_before_the_disk_is_asked(tmp_path: Path) -> None:
    node = Node(tmp_path, full=True)
    with pytest.raises(StateError):
        await node.commands.heed(Request(("web", "static"), WITHDRAWN, "fire", "ann"))
    assert node.done == [
        "look web",
        "give web withdrawn static withdrawn",
        "note web: withdrawn by ann (fire)",
        "note static: withdrawn by ann (fire)",
        "decide",
    ]
    assert node.wishes.of("web")[0].kind is WITHDRAWN, "and it holds all the same"


async def test_what_was_stored_while_control_was_dead_is_noted_at_its_start(tmp_path: Path) -> None:
    Intents(tmp_path).put(Intent("web", WITHDRAWN, 5.0, "fire", author="ann"))
    node = Node(tmp_path)
    await node.commands.begin()
    assert node.done == ["note web: withdrawn by ann (fire), found at the start"]


async def test_a_paused_node_reminds_of_itself_and_of_what_stays_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgenode.control.commands.LOOK", 0.001)
    node = Node(tmp_path)
    await node.commands.heed(Request((NODE,), IntentKind.PAUSED, "looking", "ann"))
    with suppress(TimeoutError):
        await asyncio.wait_for(node.commands.watch(), 0.2)
    (line,) = caplog.messages
    assert line.endswith("by ann (looking): no check withdraws anything, or brings back static")


async def test_a_pause_holds_on_a_full_disk_and_a_drain_is_refused(tmp_path: Path) -> None:
    node = Node(tmp_path, full=True)
    with pytest.raises(StateError, match=r"it holds, but only while this control lives: the disk"):
        await node.commands.heed(Request((NODE,), IntentKind.PAUSED))
    node.done.clear()
    with pytest.raises(StateError, match=r"^the disk is full"):
        await node.commands.heed(Request(("web",), DRAINED))
    assert node.wishes.paused
    assert node.wishes._by_group.keys() == {NODE}
    assert not [done for done in node.done if done.startswith("note")], "it is no history"


@pytest.mark.parametrize("kind", [DRAINED, WITHDRAWN, DEGRADED, IntentKind.MAINTENANCE])
async def test_the_last_site_is_not_taken_away_unless_forced(
    tmp_path: Path, kind: IntentKind
) -> None:
    node = Node(tmp_path, Outlook.LAST)
    with pytest.raises(LastSite, match="--force"):
        await node.commands.heed(Request(("web",), kind))
    assert node.done == ["look web"]
    assert not node.wishes.present
    await node.commands.heed(Request(("web",), kind, force=True))
    assert node.wishes.of("web")


async def test_who_takes_nothing_away_is_not_asked(tmp_path: Path) -> None:
    """Not announced, towards one neighbor, or a pause: no user has to go anywhere."""
    node = Node(tmp_path, Outlook.LAST)
    await node.commands.heed(Request(("static",), DRAINED))
    await node.commands.heed(Request(("web",), DEGRADED, neighbor="transit"))
    await node.commands.heed(Request((NODE,), IntentKind.PAUSED))
    assert not [each for each in node.done if each.startswith("look")]
    with pytest.raises(LastSite):
        await node.commands.heed(Request((NODE,), IntentKind.MAINTENANCE))


async def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    node = Node(tmp_path, Outlook.UNKNOWN)
    assert await node.commands.heed(Request(("web",), DRAINED)) == [
        "whether another site announces 192.0.0.0/24, 192.0.1.0/24, 192.0.2.0/24, 192.0.3.0/24, "
        "192.0.4.0/24 and 2 more is not known: transit tells nothing"
    ]


async def test_a_filter_that_bird_did_not_take_is_said(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.problem = "BIRD hangs"
    (note,) = await node.commands.heed(Request(("web",), DEGRADED, neighbor="transit"))
    assert "told again: BIRD hangs" in note


async def test_a_release_says_what_it_ended(tmp_path: Path) -> None:
    node = Node(tmp_path)
    assert await node.commands.heed(Request(("web",), None)) == ["there was nothing to release"]
    await node.commands.heed(Request(("web",), DRAINED))
    node.done.clear()
    assert await node.commands.heed(Request(("web",), None, author="bob", force=True)) == []
    assert node.done == ["note web: drained ended by bob", "waive web", "decide"]


async def test_a_release_that_ends_nothing_says_what_would(tmp_path: Path) -> None:
    node = Node(tmp_path)
    said = await node.commands.heed(Request((NODE,), None, only=IntentKind.PAUSED))
    assert said == ["there was no pause"]
    await node.commands.heed(Request((NODE,), IntentKind.MAINTENANCE, force=True))
    (said_of_web,) = await node.commands.heed(Request(("web",), None))
    assert "edgenode release --all ends that" in said_of_web


async def test_what_stays_withdrawn_is_said(tmp_path: Path) -> None:
    node = Node(tmp_path)
    await node.commands.heed(Request(("web",), WITHDRAWN))
    (note,) = await node.commands.heed(Request(("web",), DRAINED))
    assert note == "web stays as it is: release it first"
