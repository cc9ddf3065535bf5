"""Whoever is on call finds control though the file is damaged; programs get every error as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgenode import places
from edgenode.cli.known import Known
from edgenode.config import loads, read_essentials
from edgenode.state import Event, Journal
from tests.unit.cli import fakes
from tests.unit.cli.test_acting import config as config
from tests.unit.cli.test_command import edgenode
from tests.unit.cli.test_why import answer as explained
from tests.unit.config.test_config import GOOD

WRONG = ("asn = 64700", "asn = 0")
NO_TOML = ("[[groups]]", "[[groups")


def damage(config: Path, how: tuple[str, str], *, confirmed: bool = False) -> None:
    """As an operator's slip of the pen does."""
    right = config.read_text()
    if confirmed:
        last = places.confirmed_text(config.parent / "state")
        last.parent.mkdir(parents=True)
        last.write_text(right)
    config.write_text(right.replace(*how))


def served(config: Path, **more: Any) -> dict[str, Any]:
    return fakes.status(configuration={"file": str(config), "problem": ""}, **more)


@pytest.mark.parametrize("how", [WRONG, NO_TOML], ids=["wrong", "no TOML"])
def test_a_damaged_file_is_told_of_once_and_control_does_it(
    config: Path, tmp_path: Path, how: tuple[str, str]
) -> None:
    damage(config, how)
    told: list[Any] = []

    def answer(body: Any) -> dict[str, Any]:
        if body:
            told.append(body)
        return served(config, intents=[])

    with fakes.control(tmp_path / "run" / "control" / "control.sock", answer):
        for command in (["status"], ["withdraw", "web"], ["drain", "203.0.113.0/24"]):
            shown = edgenode(*command, "--config", str(config))
            assert shown.returncode == 0, shown.stderr
            assert shown.stderr.count("the configuration is damaged, and control is asked") == 1
    assert [(body["groups"], body["kind"]) for body in told] == [
        (["web"], "withdrawn"),
        (["web"], "drained"),
    ]


def test_why_and_history_too(config: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state" / "control")
    journal.record(Event(1.0, "check", "steering", "it is down"))
    journal.close()
    damage(config, WRONG, confirmed=False)
    with fakes.control(
        tmp_path / "run" / "control" / "control.sock",
        lambda _: explained() | served(config, groups=fakes.status()["groups"]),
    ):
        shown = edgenode("why", "203.0.113.9", "--config", str(config))
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.startswith("web (203.0.113.0/24)")
        shown = edgenode("history", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert "it is down" in shown.stdout


def test_the_last_good_file_says_where_control_is(config: Path, tmp_path: Path) -> None:
    damage(config, ("[node]", f'[node]\nstate_dir = "{tmp_path}/state"\n[node'), confirmed=True)
    found = read_essentials(config)
    assert (found.run_dir, found.bird_socket) == (tmp_path / "run", tmp_path / "bird.ctl")
    assert found.groups == ("web", "static")
    with fakes.control(
        tmp_path / "run" / "control" / "control.sock", lambda _: served(config, intents=[])
    ):
        shown = edgenode("status", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert "is no TOML" in shown.stderr


def test_with_control_away_what_was_confirmed_last_is_the_node(
    config: Path, tmp_path: Path
) -> None:
    damage(config, WRONG, confirmed=True)
    shown = edgenode("history", "--group", "web", "--config", str(config))
    assert "what was confirmed last is asked instead" in shown.stderr
    shown = edgenode("drain", "wev", "--config", str(config))
    assert shown.returncode == 2
    assert "no such group: wev; groups: web, static" in shown.stderr


def test_another_nodes_control_is_not_mistaken_for_this_ones(config: Path, tmp_path: Path) -> None:
    damage(config, WRONG)
    asked: list[Any] = []

    def answer(body: Any) -> dict[str, Any]:
        asked.append(body)
        return served(tmp_path / "other.toml")

    with fakes.control(tmp_path / "run" / "control" / "control.sock", answer):
        shown = edgenode("withdraw", "web", "--config", str(config))
        assert shown.returncode == 2
        assert "bgp.asn" in shown.stderr
        shown = edgenode("withdraw", "web", "--config", str(tmp_path / "mistyped.toml"))
        assert shown.returncode == 2
    assert not any(asked)


def test_withdrawing_all_believes_control(config: Path, tmp_path: Path) -> None:
    """The file names another socket of BIRD now: control has the right one, and says it is done."""
    damage(config, ("bird.ctl", "absent.ctl"))
    damage(config, ("[[services]]", "[[services"))
    with fakes.control(
        tmp_path / "run" / "control" / "control.sock", lambda _: served(config, notes=[])
    ):
        shown = edgenode("withdraw", "--all", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("withdrawn: web")
    assert "is no TOML" in shown.stderr
    assert "absent.ctl" in shown.stderr


@pytest.mark.parametrize("level", ["normal", "withdrawn"])
def test_and_does_not_where_it_is_not_done(config: Path, tmp_path: Path, level: str) -> None:
    damage(config, ("bird.ctl", "absent.ctl"))
    group = fakes.status()["groups"][0] | {"level": level, "in_force": level == "normal"}
    with fakes.control(
        tmp_path / "run" / "control" / "control.sock", lambda _: served(config, groups=[group])
    ):
        shown = edgenode("withdraw", "--all", "--config", str(config))
    assert shown.returncode == 1
    assert "absent.ctl" in shown.stderr


def test_the_group_that_an_address_is_in_is_named() -> None:
    known = Known.of(loads(GOOD))
    assert known.holder("203.0.113.9") == "web"
    assert known.holder("2001:db8:113:1::/64") == "web"
    assert known.holder("198.51.100.1") is known.holder("web") is None


def test_an_address_in_the_place_of_a_group(config: Path) -> None:
    shown = edgenode("release", "203.0.113.9", "--config", str(config))
    assert shown.returncode == 2
    assert "no such group: 203.0.113.9; groups: web, static; 203.0.113.9 is in group web (2" in (
        shown.stderr
    )


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["status"], 1),
        (["why", "web"], 1),
        (["why", "none"], 2),
        (["drain", "none"], 2),
        (["drain", "web"], 1),
        (["history", "--kind", "none"], 2),
        (["apply"], 1),
        (["undo"], 1),
        (["withdraw", "--all"], 1),
        (["firewall", "status"], 2),
    ],
    ids=str,
)
def test_programs_get_the_error_too(config: Path, command: list[str], status: int) -> None:
    shown = edgenode(*command, "--json", "--config", str(config))
    assert shown.returncode == status
    document = json.loads(shown.stdout)
    said = document.get("error") or "; ".join(document["failures"])
    assert f"edgenode: {said}" in shown.stderr


def test_programs_get_what_is_wrong_with_the_file(config: Path) -> None:
    damage(config, WRONG)
    for command in (["status"], ["check-config"], ["apply"]):
        shown = edgenode(*command, "--json", "--config", str(config))
        assert shown.returncode == 2
        assert "bgp.asn" in json.loads(shown.stdout)["error"]


@pytest.mark.parametrize("command", [["why"], ["regions", "--limit", "x"], ["status", "--none"]])
def test_programs_are_told_of_wrong_usage(command: list[str]) -> None:
    shown = edgenode(*command, "--json")
    assert shown.returncode == 2
    assert "Usage" in shown.stderr
    assert json.loads(shown.stdout)["error"].startswith("wrong usage")
