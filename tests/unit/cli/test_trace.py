"""`edgenode trace`: whom a client would get, and what makes that one in theory only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgenode.cli.trace import problems
from tests.unit.cli import fakes
from tests.unit.cli.test_acting import config as config
from tests.unit.cli.test_command import edgenode


def worker(name: str, share: float, **more: Any) -> dict[str, Any]:
    return {
        "worker": name,
        "address": "198.51.100.201",
        "port": 8080,
        "state": "up",
        "rtt_ms": 8.13,
        "weight": 10,
        "weight_now": 10.0,
        "live": 3,
        "soft_limit": None,
        "hard_limit": 20,
        "draining": False,
        "in_table": True,
        "share": share,
        "why": f"{share:.0%} of new connections",
    } | more


def region(name: str, place: int | None, *workers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "region": name,
        "place": place,
        "chosen": False,
        "rtt_ms": 8.13,
        "live": 3,
        "soft_limit": None,
        "hard_limit": None,
        "draining": False,
        "why": "the nearest [/]",
        "workers": list(workers),
    } | more


def answer(**changes: Any) -> dict[str, Any]:
    return {
        "node": "lon1",
        "address": "198.51.100.7",
        "group": {"name": "web", "level": "normal"},
        "steering": {"connected": True, "applied": 42, "report_age_s": 0.4},
        "service": "web",
        "listen": ["203.0.113.1:80"],
        "revision": 42,
        "region": "fra",
        "workers": {"fra-1": 0.75, "fra-2": 0.25},
        "why": "fra: the nearest (8.1 ms)",
        "regions": [
            region(
                "fra",
                1,
                worker("fra-2", 0.25, weight_now=2.5),
                worker("fra-1", 0.75),
                chosen=True,
            ),
            region("iad", 2, worker("iad-1", 0.0)),
            region("sin", None, why="excluded for this service", rtt_ms=None, live=None),
        ],
    } | changes


def test_the_command(config: Path, tmp_path: Path) -> None:
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: answer()):
        shown = edgenode("trace", "198.51.100.7", "--config", str(config))
        assert shown.returncode == 0, shown.stderr
        lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
        assert lines[:2] == [
            "198.51.100.7 at web (203.0.113.1:80), table 42",
            "fra: the nearest (8.1 ms)",
        ]
        assert lines[3:6] == [
            "1 fra chosen 8.1 ms 3 the nearest [/]",
            "2 iad next 8.1 ms 3 the nearest [/]",
            "- sin not used - - excluded for this service",
        ]
        assert lines[7:9] == [
            "fra/fra-1:8080 75% up 8.1 ms 10 3 - / 20 75% of new connections",
            "fra/fra-2:8080 25% up 8.1 ms 2.5 of 10 3 - / 20 25% of new connections",
        ], "the likeliest first"
        assert len(lines) == 9, "of the other regions on demand"
        more = edgenode("trace", "198.51.100.7", "--workers", "--config", str(config))
        assert "iad/iad-1:8080" in more.stdout
        shown = edgenode("trace", "198.51.100.7", "--json", "--config", str(config))
        assert json.loads(shown.stdout) == answer()


def test_a_thousand_workers_are_no_thousand_lines(config: Path, tmp_path: Path) -> None:
    many = [worker(f"w{n}", 0.001) for n in range(1000)]
    big = answer(regions=[region("fra", 1, *many, chosen=True)])
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: big):
        shown = edgenode("trace", "198.51.100.7", "--config", str(config))
        assert len(shown.stdout.splitlines()) < 110
        assert "… and 900 more workers" in shown.stdout


def test_who_would_be_refused_is_told_so(config: Path, tmp_path: Path) -> None:
    refused = answer(region=None, workers={}, regions=[], why="no worker is healthy: refused")
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: refused):
        for options in ([], ["--json"]):
            shown = edgenode("trace", "198.51.100.7", *options, "--config", str(config))
            assert shown.returncode == 1
            assert "no worker is healthy: refused" in shown.stdout


def test_with_control_away_it_is_one_sentence(config: Path) -> None:
    shown = edgenode("trace", "198.51.100.7", "--config", str(config))
    assert shown.returncode == 1
    assert shown.stderr.startswith("edgenode: edgenode control cannot be reached on ")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"group": {"name": "web", "level": "withdrawn"}}, ["is withdrawn: new clients go to"]),
        ({"revision": 43}, ["still serves table 42"]),
        (
            {"steering": {"connected": False, "applied": 42, "report_age_s": 1.0}},
            ["steering is away"],
        ),
        (
            {"steering": {"connected": True, "applied": 42, "report_age_s": None}},
            ["has not reported yet"],
        ),
        (
            {"steering": {"connected": True, "applied": 42, "report_age_s": 60.0}},
            ["has not reported for 60 s"],
        ),
    ],
)
def test_what_makes_it_one_in_theory(changes: dict[str, Any], said: list[str]) -> None:
    found = list(problems(answer(**changes)))
    assert len(found) == len(said)
    assert all(words in line for words, line in zip(said, found, strict=True))
