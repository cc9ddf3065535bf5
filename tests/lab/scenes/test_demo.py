"""The demo as a user runs it: every scene shows what it must, its figures can be counted again
from the captures, and nothing is left behind.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgenode.lab import STATIC, WEB, plan
from edgenode.lab.cleanup import leftovers
from edgenode.lab.delays import built_in
from tests.lab.scenes import recount

LAB = "tdemo"

pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Played:
    """A demo that has been played."""

    process: subprocess.CompletedProcess[str]
    captures: Path
    scenes: dict[str, Any]
    marks: dict[str, Any]

    def updates(self, scene: str) -> list[recount.Told]:
        """What the scene's edge told its upstream."""
        edge, transit = self.marks[scene]["edge"], self.marks[scene]["transit"]
        address = str(plan(built_in()).uplink(edge).end(edge).ipv4.ip)
        seen = recount.told(self.captures / f"{transit}.pcap")
        return [update for update in seen if update.source == address]

    def first(self, scene: str, since: str, *, withdrawn: bool) -> float:
        """Milliseconds from a mark to the first withdraw (announcement) of the scene's prefix."""
        prefix: str = self.marks[scene]["prefix"]
        start: float = self.marks[scene][since]
        for update in self.updates(scene):
            if update.time >= start and prefix in (
                update.withdrawn if withdrawn else update.announced
            ):
                return (update.time - start) * 1000
        raise AssertionError(f"{scene}: no such UPDATE after {since}")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    directory = tmp_path_factory.mktemp("demo")
    process = subprocess.run(
        [
            *(sys.executable, "-m", "edgenode.cli", "lab", "run", "demo", "--name", LAB),
            *("--json", str(directory / "demo.json"), "--captures", str(directory / "captures")),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (directory / "demo.json").exists(), process.stdout + process.stderr
    return Played(
        process,
        directory / "captures",
        json.loads((directory / "demo.json").read_text())["scenes"],
        json.loads((directory / "captures" / "marks.json").read_text()),
    )


@pytest.mark.parametrize(
    ("scene", "figures"),
    [
        ("nearest", {"users"}),
        ("proxy-killed", {"withdraw_ms", "user_outage_ms", "announce_ms"}),
        ("region-cut", {"first_connection_ms", "next_region_rtt_ms"}),
        (
            "control-killed",
            {"withdraw_ms", "withdraw_ipv6_ms", "connections_lost", "connections_moved"},
        ),
        ("drain", {"failed_requests"}),
    ],
)
def test_every_scene_shows_what_it_must(played: Played, scene: str, figures: set[str]) -> None:
    shown = played.scenes[scene]
    assert shown["passed"] is True, shown.get("failures")
    assert figures <= shown.keys()
    assert None not in [shown[name] for name in figures]


def test_it_ends_well_and_leaves_nothing(played: Played) -> None:
    assert played.process.returncode == 0, played.process.stderr
    assert "summary" in played.process.stdout
    assert played.process.stderr == ""
    assert not leftovers(LAB)


def test_withdraws_and_announcements_are_on_the_wire(played: Played) -> None:
    for scene in ("proxy-killed", "control-killed"):
        counted = played.first(scene, "killed", withdrawn=True)
        assert counted == pytest.approx(played.scenes[scene]["withdraw_ms"], abs=0.1)
    counted = played.first("proxy-killed", "returned", withdrawn=False)
    assert counted == pytest.approx(played.scenes["proxy-killed"]["announce_ms"], abs=0.1)
    counted = played.first("drain", "drain", withdrawn=True)
    assert counted == pytest.approx(played.scenes["drain"]["withdraw_ms"], abs=0.1)


def test_the_users_outage_is_in_the_users_packets(played: Played) -> None:
    marks = played.marks["proxy-killed"]
    user = played.captures / f"{marks['user']}.pcap"
    served = [
        flow.answers[0]
        for flow in recount.flows(user, str(STATIC.addresses[0]))
        if flow.syn >= marks["killed"] and flow.answers
    ]
    outage = (min(served) - marks["killed"]) * 1000
    # The user's program learns of the answer a little after its packet.
    assert outage == pytest.approx(played.scenes["proxy-killed"]["user_outage_ms"], abs=20)


def test_the_first_connection_after_the_cut_is_in_the_users_packets(played: Played) -> None:
    marks = played.marks["region-cut"]
    start, _ = marks["first_connection"]
    user = played.captures / f"{marks['user']}.pcap"
    flow = next(f for f in recount.flows(user, str(WEB.addresses[0])) if f.syn >= start)
    took = (flow.answers[0] - flow.syn) * 1000
    assert took == pytest.approx(played.scenes["region-cut"]["first_connection_ms"], abs=20)


def test_lost_and_moved_connections_are_in_the_users_packets(played: Played) -> None:
    marks, shown = played.marks["control-killed"], played.scenes["control-killed"]

    def held(user: str) -> list[recount.Flow]:
        found = recount.flows(played.captures / f"{user}.pcap", str(WEB.addresses[0]))
        return [
            flow
            for flow in found
            if flow.answers
            and flow.answers[0] < marks["killed"] < (flow.ended or marks["killed"] + 1)
        ]

    staying, moving = held(marks["stayer"]), held(marks["mover"])
    assert len(staying) == len(moving) == 20
    lost = [flow for flow in staying if flow.reset]
    moved = [flow for flow in moving if flow.reset]
    assert (len(lost), len(moved)) == (shown["connections_lost"], shown["connections_moved"])
    # Those that stayed were answered for seconds after the kill.
    assert all(max(flow.answers) > marks["killed"] + 2 for flow in staying)


def test_the_drained_route_had_its_community_and_cost_nobody_a_request(played: Played) -> None:
    marks = played.marks["drain"]
    drained = next(
        update
        for update in played.updates("drain")
        if update.time >= marks["drain"] and marks["prefix"] in update.announced
    )
    assert (65535, 0) in drained.communities
    user = played.captures / f"{marks['user']}.pcap"
    begun = [
        flow
        for flow in recount.flows(user, str(WEB.addresses[0]))
        if marks["moved"] < flow.syn < drained.time + 3
    ]
    unanswered = [flow for flow in begun if not flow.answers]
    assert marks["moved"] - drained.time < 0.1
    assert len(begun) > 50
    assert len(unanswered) == played.scenes["drain"]["failed_requests"] == 0
