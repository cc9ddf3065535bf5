"""A drain before the reboot: it takes its time, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgenode.api.client import ApiError, ControlAway
from edgenode.state import NODE, Intent, IntentKind, Intents
from edgenode.system import departure
from edgenode.system.errors import UpdateError


class Control:
    """Answers as it is told to: a level for each look, or an error."""

    def __init__(self, *looks: str | Exception, intents: Any = ()) -> None:
        self.looks = list(looks)
        self.intents = list(intents)
        self.heard: list[Any] = []

    def __call__(self, method: str, route: str, body: Any) -> Any:
        if method == "POST":
            self.heard.append(body)
            if body["kind"] is None:
                self.intents = []
            else:
                self.intents.append({"group": "*", "kind": body["kind"], "author": body["author"]})
            return {}
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        group = {"name": "web", "level": look, "in_force": True}
        return {"groups": [group], "intents": list(self.intents)}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "_PAUSE", 0.01)


AWAY = ControlAway("edgenode control does not answer")


def test_it_waits_until_nothing_is_announced() -> None:
    control = Control("normal", "drained", "drained", "withdrawn")
    departure.drain(control, "system update to 1.1", 5.0, False)
    (body,) = control.heard
    assert (body["groups"], body["kind"], body["force"]) == (["*"], "maintenance", False)
    assert body["until"] > 0, "whatever becomes of us, it ends"


def test_one_answer_that_does_not_come_says_nothing() -> None:
    control = Control(AWAY, "normal", AWAY, "drained", AWAY, AWAY, "withdrawn")
    departure.drain(control, "x", 5.0, False)
    assert len(control.heard) >= 1


def test_a_node_that_is_not_drained_in_time_announces_again() -> None:
    control = Control("normal")
    with pytest.raises(UpdateError, match=r"not drained within 0.1 s.*still announced: web"):
        departure.drain(control, "x", 0.1, False)
    assert control.heard[-1] == {"groups": ["*"], "kind": None, "only": "maintenance"}


def test_a_control_that_is_away_is_no_drained_one() -> None:
    with pytest.raises(UpdateError, match="not drained within"):
        departure.drain(Control(AWAY), "x", 0.1, False)


def test_the_guard_of_the_last_site_is_heeded() -> None:
    def refuses(method: str, route: str, body: Any) -> Any:
        if method == "POST":
            raise ApiError("no other site announces web", 409)
        return {"groups": [{"name": "web", "level": "normal", "in_force": True}], "intents": []}

    with pytest.raises(UpdateError, match="the drain was refused: no other site"):
        departure.drain(refuses, "x", 5.0, False)


def test_an_operators_maintenance_is_not_replaced_and_not_ended(tmp_path: Path) -> None:
    theirs = {"group": "*", "kind": "maintenance", "author": "ann"}
    control = Control("withdrawn", intents=[theirs])
    departure.drain(control, "x", 5.0, False)
    departure.announce_again(control)
    assert control.heard == []
    intents = Intents(tmp_path / "control")
    intents.put(Intent(NODE, IntentKind.MAINTENANCE, 1.0, "rack", author="ann"))
    departure.forget(tmp_path, tmp_path)
    assert len(intents.all()) == 1


def test_our_drain_is_forgotten_before_the_reboot(tmp_path: Path) -> None:
    intents = Intents(tmp_path / "control")
    intents.put(
        Intent(NODE, IntentKind.MAINTENANCE, 1.0, "x", author=departure.AUTHOR),
        Intent("web", IntentKind.WITHDRAWN, 1.0, "fire", author="ann"),
    )
    departure.begin(tmp_path)
    departure.forget(tmp_path, tmp_path)
    assert list(intents.all()) == [("web", "")]
    assert not (tmp_path / "leaving").exists()
    departure.forget(tmp_path / "absent", tmp_path / "absent")
