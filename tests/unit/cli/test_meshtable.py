"""`edgenode mesh`: each tunnel as it is measured, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgenode.cli.meshtable import SWITCHED, reasons
from edgenode.cli.meshview import bad_paths, peers
from edgenode.cli.tables import size
from tests.unit.cli import fakes
from tests.unit.cli.test_acting import config as config
from tests.unit.cli.test_command import edgenode


def peer(name: str, age: float | None = 12.0, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "edge": False,
        "handshake_age": age,
        "stale": age is None or age > 180,
        "rx": 1_500_000,
        "tx": 999,
        "endpoint": "198.51.100.41:51820",
    } | more


def path(name: str, state: str = "good", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "state": state,
        "bad": state in ("dead", "one-way", "black-hole"),
        "reason": f"{name} answers",
        "direction": None,
        "rtt_ms": 8.13,
        "loss": 0.02,
        "mtu": {"configured": 1420, "proven": 1420, "lowered": None},
    } | more


def mesh(*found: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "device": "wg0",
        "addresses": ["198.51.100.193"],
        "listen_port": 51820,
        "mtu": 1420,
        "public_key": "KEY=",
        "problem": "",
        "peers": list(found),
    } | more


def test_without_measured_paths_the_handshake_is_what_is_known() -> None:
    status = fakes.status(mesh=mesh(peer("a"), peer("b", None), peer("c", 600.0)))
    assert [(p.state, p.bad) for p in peers(status)] == [
        ("up", False),
        ("stale", True),
        ("stale", True),
    ]
    assert peers(status)[2].reason.startswith("no handshake for 600 s")


def test_a_path_that_is_bad_says_more_than_its_handshake() -> None:
    wrong = path("a", "one-way", reason="one direction only", direction="out")
    status = fakes.status(mesh=mesh(peer("a", 600.0)), paths=[wrong])
    (found,) = peers(status)
    assert (found.state, found.reason, found.direction) == ("one-way", "one direction only", "out")


def test_a_good_echo_does_not_hide_a_stale_session() -> None:
    status = fakes.status(mesh=mesh(peer("a", None)), paths=[path("a", "unknown")])
    assert peers(status)[0].state == "stale"


def test_what_is_so_of_all_is_said_once() -> None:
    told = "no echo can be sent: not permitted"
    found = peers(
        fakes.status(
            mesh=mesh(peer("a"), peer("b"), peer("c", 600.0)),
            paths=[path(name, "unknown", reason=told) for name in "abc"],
        )
    )
    said = reasons(found)
    assert said[False, told] == ["a", "b"]
    assert len(said) == 2


def test_a_problem_of_the_peer_itself_is_said_though_its_path_is_good() -> None:
    status = fakes.status(
        mesh=mesh(
            peer("a", problem="two nodes are this peer"), peer("b", next_key=True), peer("c")
        ),
        paths=[path(name) for name in "abc"],
    )
    assert reasons(peers(status)) == {
        (True, "two nodes are this peer"): ["a"],
        (False, SWITCHED): ["b"],
    }
    assert list(bad_paths(status)) == ["mesh peer a: two nodes are this peer"]


def test_the_command(config: Path, tmp_path: Path) -> None:
    lowered = {"configured": 1420, "proven": 1380, "lowered": 1380}
    answer = fakes.status(
        mesh=mesh(peer("fra"), peer("iad", edge=True), peer("sin")),
        paths=[
            path("fra"),
            path("iad", mtu=lowered, reason="larger packets [/] vanish"),
            path("sin", "dead", rtt_ms=None, loss=1.0, reason="nothing arrives"),
        ],
    )
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: answer):
        shown = edgenode("mesh", "--config", str(config))
        assert shown.returncode == 0, shown.stderr
        head, _, fra = shown.stdout.splitlines()[:3]
        assert head == ("lon1: wg0 198.51.100.193, UDP port 51820, MTU 1420, public key KEY=")
        assert "fra" in fra
        assert "good" in fra
        for words in ("8.1 ms", "2.0%", "1420 / 1420"):
            assert words in " ".join(fra.split())
        said = " ".join(shown.stdout.split())
        assert "iad (edge)" in said
        assert "1420 / 1380" in said
        assert "- iad: larger packets [/] vanish" in said
        assert "! sin: nothing arrives" in said
        document = json.loads(edgenode("mesh", "--json", "--config", str(config)).stdout)
        assert document["public_key"] == "KEY="
        assert [each["bad"] for each in document["peers"]] == [False, False, True]
        assert document["peers"][1]["mtu_proven"] == 1380
        shown = edgenode("mesh", "--limit", "1", "--config", str(config))
        assert "dead" in shown.stdout, "what is wrong goes before others"
        assert "fra" not in shown.stdout
        assert "… and 2 more peers" in shown.stdout


def test_a_node_without_a_mesh(config: Path, tmp_path: Path) -> None:
    answer = fakes.status(mesh=mesh(device=None))
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: answer):
        shown = edgenode("mesh", "--config", str(config))
    assert shown.returncode == 1
    assert "the configuration has no [mesh]" in shown.stderr


@pytest.mark.parametrize(
    ("bytes_", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (1_500_000, "1.4 MiB"), (2**50, "1024 TiB")],
)
def test_sizes(bytes_: int, said: str) -> None:
    assert size(bytes_) == said


def test_status_says_which_peers_are_bad_and_not_of_hundreds(config: Path, tmp_path: Path) -> None:
    answer = fakes.status(mesh=mesh(*(peer(f"p{n}", None) for n in range(200)), peer("well")))
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: answer):
        shown = edgenode("status", "--config", str(config)).stdout
    assert "! mesh peer p0 is stale: no handshake yet" in shown
    assert "! mesh peer p10 " not in shown
    assert "190 more mesh peers are bad" in shown
    assert "peer well is" not in shown
