"""`edgenode regions`: what is measured is shown, and why a region gets nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgenode.cli.regionview import Region, notes, regions
from tests.unit.cli import fakes
from tests.unit.cli.test_acting import config as config
from tests.unit.cli.test_command import edgenode


def target(state: str = "up", reason: str = "answers", **more: Any) -> dict[str, Any]:
    rtt = 8.1 if state == "up" else None
    return {"state": state, "rtt_ms": rtt, "reason": reason, "for": 61.0} | more


def region(name: str, rtt: float | None, targets: dict[str, Any], **more: Any) -> dict[str, Any]:
    named = {name.partition(":")[0] for name in targets}
    up = {name.partition(":")[0] for name, each in targets.items() if each["state"] == "up"}
    figures = {"rtt_ms": rtt, "workers_up": len(up), "workers": len(named), "targets": targets}
    return {"name": name, **figures} | more


def reported(live: dict[str, int], **more: Any) -> dict[str, Any]:
    targets = {name: {"live": count, "connect_failures": 0} for name, count in live.items()}
    return {"connected": True, "refusal": "", "report": {"targets": targets} | more}


def one(targets: dict[str, Any], live: dict[str, int] | None = None, **more: Any) -> Region:
    """The only region, fra."""
    status = fakes.status(regions=[region("fra", 8.1, targets, **more)])
    if live is not None:
        status["steering"] = reported(live)
    (found,) = regions(status)
    return found


def test_all_is_well() -> None:
    found = one({"a:80": target(), "a:81": target(), "b:80": target()}, {"fra/a": 3, "fra/b": 4})
    assert (found.state, found.why, found.live) == ("up", "", 7), "a worker's are counted once"
    assert (found.healthy, found.total) == (2, 2), "and so is it, whatever its ports"


@pytest.mark.parametrize(
    ("targets", "more", "state", "why"),
    [
        ({"a:80": target("down", "refused")}, {}, "down", "refused"),
        ({"a:80": target("unknown", "no probe yet")}, {}, "unknown", "no probe yet"),
        ({}, {}, "down", "no worker"),
        (
            {"a:80": target(), "b:80": target("down", "timed out")},
            {},
            "partly",
            "1 down: timed out",
        ),
        (
            {"a:80": target("down", "refused"), "b:80": target("down", "timed out")},
            {},
            "down",
            "refused (and 1 other reasons)",
        ),
        ({"a:80": target()}, {"draining": True}, "draining", "gets no new connections"),
        ({"a:80": target(), "b:80": target(draining=True)}, {}, "partly", "1 draining"),
        (
            {"a:80": target(suspect="no answer for 0.3 s")},
            {},
            "suspect",
            "no answer for 0.3 s; gets",
        ),
        (
            {"a:80": target(suspect="no answer for 0.3 s"), "b:80": target()},
            {},
            "partly",
            "1 suspect: no answer for 0.3 s",
        ),
        ({"a:80": target()}, {"soft_limit": 5}, "busy", ""),
        ({"a:80": target()}, {"soft_limit": 4, "hard_limit": 5}, "full", ""),
        ({"a:80": target()}, {"soft_limit": 6}, "up", ""),
        ({"a:80": target(hard_limit=5), "b:80": target()}, {}, "partly", "1 full"),
    ],
)
def test_why_it_is_not(targets: dict[str, Any], more: dict[str, Any], state: str, why: str) -> None:
    found = one(targets, {"fra/a": 5}, **more)
    assert found.state == state
    assert why in found.why


def ejection(worker: str | None, times: int, until: float = 130.0) -> dict[str, Any]:
    about = {"service": "web", "region": "fra", "worker": worker, "reason": "refused"}
    return about | {"until": until, "ejections": times, "relays": 2}


def test_whom_the_relays_leave_alone() -> None:
    targets = {"a:80": target(), "b:80": target(), "c:80": target("down", "timed out")}
    status = fakes.status(regions=[region("fra", 8.1, targets)])
    told = [ejection("a", 3), ejection("b", 0), ejection("c", 1)]
    status["steering"] = reported({}, at=100.0, ejections=told)
    (found,) = regions(status)
    assert [worker.state for worker in found.workers] == ["ejected", "up", "down"]
    assert found.workers[0].why == "refused: web leaves it alone for 30 s more"
    assert (found.state, found.why) == ("partly", "1 down, 1 ejected: timed out")
    status["steering"] = reported({}, at=100.0, ejections=[ejection(None, 0)])
    assert regions(status)[0].why.startswith("refused: web leaves it alone")


def test_what_a_worker_says_of_its_host() -> None:
    status = fakes.status(
        regions=[region("fra", 8.1, {"a:80": target(), "b:80": target()})],
        registry={"source": "etcd", "loads": {"fra/a": 0.25}},
    )
    assert [worker.load for worker in regions(status)[0].workers] == [0.25, None]


def test_without_a_report_nothing_is_said_of_connections() -> None:
    found = one({"a:80": target(soft_limit=1)}, soft_limit=1)
    assert found.live is found.workers[0].live is None
    assert found.state == "up"


REGISTRY = {
    "source": "etcd",
    "problem": "",
    "age_s": 3.0,
    "missing": [],
    "refused_count": 0,
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"registry": {"source": "config"}}, []),
        ({"registry": REGISTRY}, []),
        (
            {"registry": REGISTRY | {"source": "copy", "problem": "timed out", "age_s": 3600.0}},
            ["etcd: timed out; of the workers the copy that is 1 h old serves"],
        ),
        (
            {"registry": REGISTRY | {"missing": [{"worker": f"fra/w{n}"} for n in range(7)]}},
            ["their records have gone: fra/w0, fra/w1, fra/w2, fra/w3, fra/w4 and 2 more"],
        ),
        ({"registry": REGISTRY | {"refused_count": 2}}, ["records that are not used: 2"]),
        (
            {"services": [{"name": "web", "reachable": False, "evidence": "no tunnel works"}]},
            ["web has no reachable region: no tunnel works"],
        ),
        (
            {"services": [{"name": "web", "reachable": None, "cause": "everywhere"}]},
            ["web is reached from nowhere"],
        ),
        ({"steering": {"report": {"set_aside": None}}}, []),
        (
            {"steering": {"report": {"set_aside": {"revision": 7, "reason": "it crashed"}}}},
            ["steering serves from an older table: table 7 has failed, and it crashed"],
        ),
    ],
)
def test_what_is_wrong_beside_the_regions(changes: dict[str, Any], said: list[str]) -> None:
    found = list(notes(fakes.status(**changes)))
    assert len(found) == len(said)
    assert all(words in line for words, line in zip(said, found, strict=True))


def status(workers: int) -> dict[str, Any]:
    many = {
        f"w{n}:80": target("down", "no answer [/]") if n % 10 else target() for n in range(workers)
    }
    return fakes.status(
        steering=reported({"fra/fra-1": 12}),
        services=[{"name": "web", "reachable": False}],
        regions=[
            region("fra", 8.13, {"fra-1:8080": target(hard_limit=20)}, soft_limit=50),
            region("iad", None, many),
        ],
    )


def test_the_command(config: Path, tmp_path: Path) -> None:
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: status(1000)):
        shown = edgenode("regions", "--config", str(config))
        assert shown.returncode == 0, shown.stderr
        fra, iad = shown.stdout.splitlines()[1:3]
        assert fra.split() == ["1", "fra", "up", "8.1", "ms", "1", "of", "1", "12", "50", "/", "-"]
        assert iad.split()[:7] == ["2", "iad", "partly", "-", "100", "of", "1000"]
        assert "! web has no reachable region" in shown.stdout
        shown = edgenode("regions", "iad", "--workers", "--config", str(config))
        lines = shown.stdout.splitlines()
        assert len(lines) < 120
        assert "no answer [/]" in shown.stdout
        assert "… and 900 more workers" in shown.stdout
        shown = edgenode("regions", "--json", "--config", str(config))
        document = json.loads(shown.stdout)
        assert [len(each["workers"]) for each in document["regions"]] == [1, 1000]
        worker = document["regions"][0]["workers"][0]
        assert (worker["name"], worker["live"], worker["hard_limit"]) == ("fra-1:8080", 12, 20)
        shown = edgenode("regions", "fr", "--config", str(config))
        assert shown.returncode == 2
        assert shown.stderr == "edgenode: no such region: fr; regions: fra, iad\n"


@pytest.mark.parametrize("command", ["regions", "mesh"])
def test_with_control_away_it_is_one_sentence(config: Path, command: str) -> None:
    shown = edgenode(command, "--json", "--config", str(config))
    assert shown.returncode == 1
    assert shown.stderr.startswith("edgenode: edgenode control cannot be reached on ")
    assert "control cannot be reached" in json.loads(shown.stdout)["error"]
