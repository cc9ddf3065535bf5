"""What is done, and what is said of it, is the same."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

import edgenode as edgenode_package
from edgenode.cli.acting import author
from edgenode.cli.history import KINDS
from edgenode.state import Event, Intent, IntentKind, Intents, Journal
from tests.unit.cli import fakes
from tests.unit.cli.test_command import edgenode
from tests.unit.config.test_config import GOOD

ALL = ("withdraw", "--all", "--reason", "fire", "--config")
DISABLES = [f'disable "*_v?_{level}"' for level in ("normal", "degraded", "drained")]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "edgenode.toml"
    node = f'name = "lon1"\nrun_dir = "{tmp_path}/run"\nstate_dir = "{tmp_path}/state"'
    text = GOOD.replace('name = "lon1"', node, 1)
    path.write_text(text.replace("[bgp]", f'[bgp]\nsocket = "{tmp_path}/bird.ctl"', 1))
    return path


def kinds(tmp_path: Path) -> dict[str, IntentKind]:
    return {
        name: intent.kind
        for (name, _), intent in Intents(tmp_path / "state" / "control").all().items()
    }


def test_withdrawing_all(config: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    told: list[Any] = []

    def answer(body: Any) -> dict[str, Any]:
        told.append(body)
        assert heard, "BIRD is first"
        # What control has stored is not stored over; and before it, no disk was waited for.
        store = Intents(tmp_path / "state" / "control")
        assert store.all() == {}
        store.put(by_control)
        return fakes.status()

    by_control = Intent("web", IntentKind.WITHDRAWN, 1.0, "fire", author="control")
    with (
        fakes.bird(tmp_path / "bird.ctl", heard),
        fakes.control(tmp_path / "run" / "control" / "control.sock", answer),
    ):
        shown = edgenode(*ALL, str(config))
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == "withdrawn: web, static, web-a\n"
    assert heard == [*DISABLES, "show protocols"]
    assert kinds(tmp_path) == dict.fromkeys(["web", "static", "web-a"], IntentKind.WITHDRAWN)
    assert Intents(tmp_path / "state" / "control").all()["web", ""] == by_control
    assert [body["groups"] for body in told] == [["*"]], "control may run with another text"


def test_withdrawing_all_outlasts_a_withdraw_with_an_end(config: Path, tmp_path: Path) -> None:
    store = Intents(tmp_path / "state" / "control")
    store.put(Intent("web", IntentKind.WITHDRAWN, 1.0, "for a while", until=time.time() + 60))
    with fakes.bird(tmp_path / "bird.ctl", []):
        assert edgenode(*ALL, str(config)).returncode == 0
    assert store.all()["web", ""].until is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("asn = 64700", "asn = 0"),
        ("[[groups]]", "[[groups]]\nunknown = 1"),
        ('target = "203.0.113.1:80"', 'target = ""'),
    ],
)
def test_withdrawing_all_with_a_wrong_configuration(
    config: Path, tmp_path: Path, old: str, new: str
) -> None:
    config.write_text(config.read_text().replace(old, new))
    heard: list[str] = []
    with fakes.bird(tmp_path / "bird.ctl", heard):
        shown = edgenode(*ALL, str(config))
    assert shown.returncode == 0, shown.stderr
    assert heard[:3] == DISABLES
    assert {"web", "static"} <= kinds(tmp_path).keys()


def test_withdrawing_all_with_half_a_configuration(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace("[[services]]", "[[services"))
    heard: list[str] = []
    with fakes.bird(tmp_path / "bird.ctl", heard):
        shown = edgenode(*ALL, str(config))
    assert heard[:3] == DISABLES
    assert shown.returncode == 1
    assert "is no TOML" in shown.stderr
    assert f"BIRD was told on {tmp_path}/bird.ctl" in shown.stderr
    assert "Traceback" not in shown.stderr
    assert {"web", "static", "web-a"} == kinds(tmp_path).keys()


def test_a_bird_that_goes_on_announcing_is_told_of(config: Path, tmp_path: Path) -> None:
    with fakes.bird(tmp_path / "bird.ctl", [], obeys=False):
        shown = edgenode(*ALL, str(config))
    assert shown.returncode == 1
    assert "still announces web-a: stop BIRD itself" in shown.stderr
    assert "withdrawn:" not in shown.stdout


def test_intents_that_cannot_be_stored_are_told_of(config: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no directory")
    heard: list[str] = []
    with fakes.bird(tmp_path / "bird.ctl", heard):
        shown = edgenode(*ALL, str(config))
    assert heard[:3] == DISABLES
    assert shown.returncode == 1
    assert "may announce again" in shown.stderr


@pytest.mark.parametrize("stale", [True, False])
def test_what_bird_has_not_done_is_not_claimed(config: Path, tmp_path: Path, stale: bool) -> None:
    base = fakes.status()
    group = base["groups"][0] | {"in_force": stale}
    bird = base["bird"] | {"asked_s_ago": 60.0 if stale else 0.0, "problem": "BIRD hangs"}
    answer = fakes.status(groups=[group], bird=bird)
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: answer):
        shown = edgenode("withdraw", "web", "--config", str(config))
    assert shown.returncode == 1
    assert "decided, but BIRD has not done it: web (BIRD hangs)" in shown.stderr


def test_bird_is_given_a_moment(config: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    asked: list[Any] = []

    def answer(body: Any) -> dict[str, Any]:
        asked.append(body)
        base = fakes.status()
        return base | {"groups": [base["groups"][0] | {"in_force": len(asked) > 3}]}

    with fakes.control(tmp_path / "run" / "control" / "control.sock", answer):
        shown = edgenode("withdraw", "web", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == "web: withdrawn (withdrawn by the operator)\n"
    assert asked[0] == {
        "groups": ["web"],
        "kind": "withdrawn",
        "reason": "",
        "force": False,
        "until": None,
        "author": author(""),
    }
    assert time.monotonic() - started < 10


def test_what_others_wrote_is_no_markup(config: Path, tmp_path: Path) -> None:
    reason = "[/] 93% used, see http://[2001:db8::1]/ and [bold]"
    checks = [{"name": "disk", "state": "down", "reason": reason}]
    group = fakes.status()["groups"][0] | {"reasons": [reason]}
    answer = fakes.status(checks=checks, groups=[group])
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: answer):
        shown = edgenode("status", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert "".join(shown.stdout.split()).count("".join(reason.split())) >= 1


def test_a_check_that_cannot_be_made_is_told_of(config: Path, tmp_path: Path) -> None:
    check = {"name": "disk", "state": "up", "reason": "91% full", "trouble": "exec-runner is away"}
    answer = fakes.status(checks=[check])
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: answer):
        shown = edgenode("status", "--config", str(config))
    assert "check disk cannot be made, and stays up for now: exec-runner is away" in shown.stdout


def test_a_lifeline_that_is_away_is_told_of(config: Path, tmp_path: Path) -> None:
    lifeline = {"held": False, "connected": False, "silent_s": 0.0, "no_beat": None}
    answer = fakes.status(lifeline=lifeline)
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: answer):
        shown = edgenode("status", "--config", str(config))
    assert "lifeline away" in shown.stdout
    assert "! the lifeline is away: start edgenode lifeline" in shown.stdout


def test_history(config: Path, tmp_path: Path) -> None:
    shown = edgenode("history", "--config", str(config))
    assert shown.returncode == 1
    assert "there is no history" in shown.stderr
    assert not (tmp_path / "state").exists(), "who only looks makes nothing"
    journal = Journal(tmp_path / "state" / "control")
    journal.record(Event(0.0, "check", "disk", "down: [/] full"))
    journal.close()
    shown = edgenode("history", "--config", str(config))
    assert "disk: down: [/] full" in shown.stdout
    assert len(json.loads(edgenode("history", "--json", "--config", str(config)).stdout)) == 1
    shown = edgenode("history", "--group", "wbe", "--config", str(config))
    assert (shown.returncode, shown.stdout) == (0, "")
    assert "nothing such" in shown.stderr
    assert "has no group wbe" in shown.stderr
    shown = edgenode("history", "-n", "9" * 20, "--config", str(config))
    assert "disk: down: [/] full" in shown.stdout
    shown = edgenode("history", "--kind", "chek", "--config", str(config))
    assert shown.returncode == 2
    assert "no such kind: chek; there are: group, check" in shown.stderr
    (tmp_path / "state" / "control" / "history.sqlite").write_bytes(b"damaged" * 500)
    shown = edgenode("history", "--config", str(config))
    assert shown.returncode == 1
    assert "cannot be read" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_damaged_intents_do_not_keep_bird_from_being_told(config: Path, tmp_path: Path) -> None:
    Intents(tmp_path / "state" / "control").put(Intent("web", IntentKind.DRAINED, 1.0, ""))
    (tmp_path / "state" / "control" / "intents.sqlite").write_bytes(b"damaged" * 500)
    heard: list[str] = []
    with fakes.bird(tmp_path / "bird.ctl", heard):
        shown = edgenode(*ALL, str(config))
    assert heard[:3] == DISABLES
    assert shown.returncode == 1
    assert "look at that file" in shown.stderr


def test_what_is_said_goes_to_control(config: Path, tmp_path: Path) -> None:
    told: list[Any] = []

    def answer(body: Any) -> dict[str, Any]:
        told.append(body)
        return fakes.status(notes=["whether another site has it is not known"])

    about = ("--reason", "loss", "--author", "ann", "--for", "2h", "--config", str(config))
    with fakes.control(tmp_path / "run" / "control" / "control.sock", answer):
        shown = edgenode("degrade", "web", "--neighbor", "transit-v4", *about)
        edgenode("maintenance", "--all", "--force", *about)
        edgenode("release", "web", "--force", "--config", str(config))
        edgenode("release", "--all", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert "note: whether another site has it is not known" in shown.stderr
    degrade, maintenance, release, everything = (body for body in told if body)
    assert degrade["kind"] == "degraded"
    assert degrade["neighbor"] == "transit-v4"
    assert degrade["author"] == "ann"
    assert abs(degrade["until"] - time.time() - 7200) < 60
    assert (maintenance["groups"], maintenance["force"]) == (["*"], True)
    assert (release["groups"], release["kind"], release["force"]) == (["web"], None, True)
    assert everything["groups"] == ["web", "static", "*"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("degrade", "web", "--neighbor", "transit"), "no such neighbor: transit; there are: tra"),
        (("drain", "wbe"), "no such group: wbe"),
        (
            ("drain", "web", "198.51.100.0/24"),
            "no such group, and no prefix of one: 198.51.100.0/24",
        ),
        (("drain", "203.0.113.0"), "no such group: 203.0.113.0"),
        (("drain", "web", "--reason", "x" * 201), "--reason has 201 characters"),
        (("maintenance", "--all", "--reason", "\n" * 150), "--reason has 300 characters"),
        (("drain", "web", "--until", "tomorrow"), "write a time such as"),
        (("drain", "web", "--for", "2 hours"), "write a duration"),
        (("drain", "web", "--for", "0s"), "--for 0s is over at once"),
        (("drain", "web", "--for", "1h", "--until", "12:00"), "not both"),
        (("history", "--since", "yesterday"), "how long ago"),
    ],
)
def test_wrong_usage_is_one_sentence_and_status_2(
    config: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    shown = edgenode(*arguments, "--config", str(config))
    assert shown.returncode == 2, shown.stderr
    assert complaint in " ".join(shown.stderr.split())


def test_a_prefix_stands_for_its_group_and_that_is_said(config: Path, tmp_path: Path) -> None:
    told: list[Any] = []

    def answer(body: Any) -> dict[str, Any]:
        told.append(body)
        return fakes.status()

    with fakes.control(tmp_path / "run" / "control" / "control.sock", answer):
        shown = edgenode("drain", "2001:DB8:113::/48", "web", "--config", str(config))
        long = ("--reason", "x" * 300, "--config", str(config))
        assert edgenode("withdraw", "192.0.2.0/24", *long).returncode == 0
    drain, withdraw = (body for body in told if body)
    assert (shown.returncode, drain["groups"]) == (0, ["web"]), shown.stderr
    what = "2001:DB8:113::/48 stands for its group web (203.0.113.0/24 2001:db8:113::/48)"
    assert what in shown.stderr
    assert withdraw["groups"] == ["static"]
    assert len(withdraw["reason"]) == 200, "a withdraw is not refused for its words"


def test_withdrawing_all_while_bird_is_dead_says_what_will_hold(
    config: Path, tmp_path: Path
) -> None:
    shown = edgenode(*ALL, str(config))
    assert shown.returncode == 1
    assert "BIRD could not be told" in shown.stderr
    assert "is stored, and holds when BIRD or control is back, until a release" in shown.stderr
    assert "web, static" in shown.stderr
    assert kinds(tmp_path) == dict.fromkeys(["web", "static"], IntentKind.WITHDRAWN)
    told = json.loads(edgenode(*ALL, str(config), "--json").stdout)
    assert told["stored"] == ["web", "static"]


def test_history_of_a_group_has_what_it_hangs_on(config: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state" / "control")
    for kind, subject in [
        ("check", "steering"),
        ("check", "nginx"),
        ("group", "web"),
        ("group", "static"),
        ("intent", "*"),
    ]:
        journal.record(Event(time.time(), kind, subject, f"{kind} of {subject}"))
    journal.record(Event(time.time() - 7200, "group", "web", "long ago"))
    journal.close()
    shown = edgenode("history", "--group", "web", "--since", "1h", "--config", str(config))
    told = [line.rpartition(": ")[2] for line in shown.stdout.splitlines()]
    assert told == ["check of steering", "group of web", "intent of *"]
    shown = edgenode(
        "history", "--group", "203.0.113.0/24", "--since", "1h", "--config", str(config)
    )
    assert [line.rpartition(": ")[2] for line in shown.stdout.splitlines()] == told
    shown = edgenode("history", "--group", "web", "--kind", "group", "--config", str(config))
    assert "long ago" in shown.stdout


def test_status_shows_who_wants_what_and_what_was_lost(config: Path, tmp_path: Path) -> None:
    about = {"author": "ann", "since": 1.8e9, "until": None, "reason": "fans", "neighbor": ""}
    pause = {"group": "*", "kind": "paused"} | about
    toward = {"group": "web", "kind": "degraded"} | about | {"neighbor": "transit-v4"}
    sent = {"level": "drained", "at": 1.8e9, "to": ["one"], "not_to": {"two": "it was not sent"}}
    group = fakes.status()["groups"][0] | {"level": "drained", "sent": sent}
    answer = fakes.status(
        groups=[group], paused=pause, intents=[pause, toward], history={"lost": 3}
    )
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: answer):
        shown = " ".join(edgenode("status", "--config", str(config)).stdout.split())
    assert "PAUSED by ann since 2027-01-15 08:00:00 UTC (fans): nothing moves by itself" in shown
    assert "3 events could not be kept in the history" in shown
    assert "sent to one; NOT SENT to two: it was not sent" in shown
    assert "degraded web transit-v4" in shown


def test_each_kind_of_event_can_be_asked_for() -> None:
    package = Path(edgenode_package.__file__).parent
    noted = {
        kind
        for file in package.rglob("*.py")
        for kind in re.findall(r'note\(\s*"([a-z]+)"', file.read_text())
    }
    assert len(noted) > 8
    assert noted <= set(KINDS)
