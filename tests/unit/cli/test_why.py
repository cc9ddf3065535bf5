"""What is said to the question why, and that it says what would change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgenode.cli.why import lines
from tests.unit.cli import fakes
from tests.unit.cli.test_acting import config as config
from tests.unit.cli.test_command import edgenode

NOW = 1_800_000_000.0


def answer(**changes: Any) -> dict[str, Any]:
    group = {
        "name": "web",
        "prefixes": ["203.0.113.0/24"],
        "level": "normal",
        "in_force": True,
        "since": NOW - 720,
        "reasons": ["all that is required is up"],
        "penalty": {"enabled": True, "value": 1000.0, "suppress": 6000.0},
        "waits": None,
    }
    rule = {"checks": {"nginx": "up"}, "need": "all", "low": 1.0, "high": 1.0}
    return {
        "group": group | changes.pop("group", {}),
        "paused": None,
        "bird": {"problem": ""},
        "lifeline": {"connected": True},
        "intents": [],
        "rules": [rule | {"level": "withdrawn", "standing": "whole"} | changes.pop("rule", {})],
        "checks": [{"name": "nginx", "state": "up", "reason": "200"}],
        "services": [],
        "regions": [],
        "regions_required": None,
        "neighbors": [
            {"name": "transit", "state": "Established", "as_told": True, "problem": ""},
            {"name": "other", "state": "Active", "as_told": False, "problem": "x"},
        ],
        "other_sites": [],
    } | changes


def said(**changes: Any) -> list[str]:
    return list(lines(answer(**changes), NOW))


def intent(kind: str, **changes: Any) -> dict[str, Any]:
    base = {"group": "web", "kind": kind, "neighbor": "", "author": "ann", "since": NOW}
    return base | {"until": None, "reason": "fans"} | changes


def test_an_announced_group() -> None:
    assert said() == [
        "web (203.0.113.0/24): announced since 2027-01-15 07:48:00 UTC (12 min)",
        "  because    all that is required is up",
        "  neighbor   transit: sent, as normal",
        "  neighbor   other: nothing: the session is Active",
        "  rule       all of nginx up; else withdrawn: whole",
        "  damping    penalty 1000 of 6000",
        "  to change  withdrawn as soon as nginx is down",
    ]


def test_why_bird_does_not_do_what_was_decided() -> None:
    away = {"bird": {"problem": "BIRD is away"}, "lifeline": {"connected": False}}
    first, bird, lifeline, *_ = said(group={"in_force": False}, **away)
    assert "DOES NOT DO SO YET" in first
    assert bird == "  BIRD       BIRD is away"
    assert "start edgenode lifeline" in lifeline


def test_a_warning_is_said_beside_what_is_well() -> None:
    check = {"name": "nginx", "state": "up", "reason": "200", "warning": "it ends in 13 days"}
    assert "  warning    nginx: it ends in 13 days" in said(checks=[check])


def test_the_evidence_is_named_and_what_siblings_say() -> None:
    service = {"name": "web", "reachable": False, "cause": "everywhere", "counts_as": None}
    edges = [
        {"name": "nyc1", "fresh": True, "services": {"web": False}},
        {"name": "sin1", "fresh": False, "services": {}},
    ]
    shown = said(
        services=[service | {"evidence": "no worker answers, and nyc1 sees the same"}],
        regions_required="any",
        siblings={"edges": edges, "conflicts": ["198.51.100.194 twice"], "stale": "older"},
    )
    assert "  evidence   web (everywhere): no worker answers, and nyc1 sees the same" in shown
    assert "  sibling    nyc1 says of web: no region answers" in shown
    assert "  sibling    sin1 is silent" in shown
    assert "  conflict   198.51.100.194 twice" in shown
    assert "  registry   older" in shown


def test_a_broken_rule_says_what_would_mend_it() -> None:
    shown = said(
        group={"level": "withdrawn"}, rule={"checks": {"nginx": "down"}, "standing": "broken"}
    )
    assert "  neighbor   transit: nothing, as it should be" in shown
    assert "  check      nginx: down: 200" in shown
    assert shown[-1] == "  to change  up again must be nginx"


def test_a_quorum_is_told_with_its_marks() -> None:
    rule = {"checks": {"a": "up", "b": "down"}, "need": "quorum", "low": 0.5, "high": 0.7}
    shown = said(rule=rule | {"level": "degraded", "standing": "broken"})
    assert "  rule       quorum 50% to 70% of a up, b down; else degraded: broken" in shown
    assert "  to change  70% of a, b must be up" in shown


def test_what_waits_says_how_long_and_how_not_to() -> None:
    shown = said(group={"level": "withdrawn", "waits": {"for": "normal", "s": 660.0}})
    assert "  damping    penalty 1000 of 6000; waits 11 min to be normal" in shown
    assert "edgenode release web --force does not wait" in shown[-1]


@pytest.mark.parametrize(
    ("wanted", "remedy"),
    [
        (intent("drained"), "edgenode release web"),
        (intent("degraded", neighbor="transit"), "edgenode release web --neighbor transit"),
        (intent("drained", until=NOW), "edgenode release web, or 2027-01-15 08:00:00 UTC"),
        (intent("maintenance", group="*"), "edgenode release --all"),
        (intent("maintenance", group="*", author="the file /x"), "remove /x"),
    ],
)
def test_an_intent_says_how_it_ends(wanted: dict[str, Any], remedy: str) -> None:
    assert f"  to change  {remedy}" in said(intents=[wanted], group={"level": "drained"})


def test_a_pause_is_loud_and_degrading_towards_one_neighbor_is_seen() -> None:
    pause = intent("paused", group="*")
    shown = said(paused=pause, intents=[pause, intent("degraded", neighbor="transit")])
    assert shown[1].startswith("  PAUSED     by ann since")
    assert "  neighbor   transit: sent, as normal, degraded towards it alone" in shown
    assert "  to change  edgenode resume" in shown


def test_what_was_not_sent_is_loud() -> None:
    neighbor = {"name": "transit", "state": "Established", "as_told": False, "problem": "gone"}
    assert "  neighbor   transit: NOT AS IT SHOULD BE: gone" in said(neighbors=[neighbor])


def test_a_prefix_an_address_or_a_group_is_meant(config: Path, tmp_path: Path) -> None:
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: answer()):
        for subject in ("203.0.113.0/24", "203.0.113.77", "2001:db8:113::/48", "web"):
            shown = edgenode("why", subject, "--config", str(config))
            assert shown.returncode == 0, shown.stderr
            assert shown.stdout.startswith("web (203.0.113.0/24): announced since")
        shown = edgenode("why", "203.0.113.0/25", "--config", str(config))
    assert shown.returncode == 2
    assert "is neither a group nor one of its prefixes; it is a part of web" in shown.stderr
