"""The whole lab, with edgenode's own daemons at the edges."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edgenode.lab import STATIC, WEB, Lab, wait_until
from tests.lab.lab.naming import unique_name

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(unique_name()) as lab:
        said: list[str] = []
        lab.up(said.append)
        assert said
        yield lab


def region_of(lab: Lab, user: str) -> str | None:
    body = lab.get(user, WEB.addresses[0]).body
    return body["region"] if body else None


def test_users_reach_a_worker_who_knows_them(lab: Lab) -> None:
    for user in lab.topology.users:
        own = lab.topology.uplink(user.name).end(user.name)
        edge = lab.topology.edges_by_distance(user.name)[0]
        for address, client in zip(map(str, WEB.addresses), (own.ipv4, own.ipv6), strict=True):
            body = lab.get(user.name, address).body
            assert body is not None
            assert (body["edge"], body["client"]) == (edge, str(client).partition("/")[0])
            assert body["worker"].startswith(f"{body['region']}-")
        assert lab.get(user.name, WEB.addresses[0], path="/bytes").body == {"bytes": 16 * 1024**2}


def test_each_daemon_is_a_process_of_its_own(lab: Lab) -> None:
    daemons = lab.daemons("lon1")
    known = {"wireguard", "bird", "lifeline", "steering", "exec-runner", "control", "nginx"}
    assert known >= set(daemons)
    mains = {lab.main_pid("lon1", daemon) for daemon in daemons}
    assert len(mains) == len(daemons)
    groups = [set(lab.pids("lon1", daemon)) for daemon in daemons]
    assert sum(map(len, groups)) == len(set().union(*groups))


def test_what_is_measured_is_shown(lab: Lab) -> None:
    """Figures of the regions, of the tunnels, and of where a client would be taken."""

    def shown(command: str, *arguments: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            lab.edgenode("lon1", command, *arguments, "--json").stdout
        )
        return answer

    order = lab.topology.regions_by_distance("lon1")
    wait_until(lambda: region_of(lab, "par") == order[0], 10, "the nearest region")
    regions = shown("regions")["regions"]
    assert [region["name"] for region in regions] == list(order)
    assert [region["state"] for region in regions] == ["up"] * len(order)
    distances = [region["rtt_ms"] for region in regions]
    assert distances == sorted(distances)
    for region in regions:
        # A probe is a connection: one round-trip.
        expected = lab.topology.rtt("lon1", region["name"])
        assert expected * 0.9 < region["rtt_ms"] < expected + 20
        assert all(worker["rtt_ms"] for worker in region["workers"])

    def measured() -> bool:
        return all(peer["mtu_proven"] for peer in shown("mesh")["peers"] if peer["name"] in order)

    wait_until(measured, 20, "full-size echoes through the tunnels to the regions")
    mesh = shown("mesh")
    assert len(mesh["addresses"]) == 2
    assert len(mesh["public_key"]) == 44
    nearest = next(peer for peer in mesh["peers"] if peer["name"] == order[0])
    assert nearest["handshake_age_s"] < 180
    assert min(nearest["rx"], nearest["tx"]) > 0
    expected = lab.topology.rtt("lon1", order[0])
    assert (nearest["state"], nearest["bad"]) == ("good", False), nearest["reason"]
    assert expected * 0.9 < nearest["rtt_ms"] < expected + 20
    assert nearest["loss"] < 0.5
    assert nearest["mtu_proven"] == nearest["mtu_configured"] == mesh["mtu"]

    client = str(lab.topology.uplink("par").end("par").ipv4.ip)
    for address in (client, str(WEB.addresses[1])):
        trace = shown("trace", address)
        assert (trace["service"], trace["region"]) == ("web", order[0])
        assert sum(trace["workers"].values()) == pytest.approx(1)
        assert [region["region"] for region in trace["regions"]] == list(order)
    for command in (["regions", "--workers"], ["mesh"], ["trace", client]):
        assert order[0] in lab.edgenode("lon1", *command).stdout
    assert lab.edgenode("lon1", "trace", client, "--service", "none").returncode == 2


def test_what_the_configuration_asks_of_regions(lab: Lab) -> None:
    """A region drains, then all of them; a service is pinned; and all is as before."""
    file = lab.directory("lon1") / "edgenode.toml"
    text = file.read_text()
    nearest, following, farthest = lab.topology.regions_by_distance("lon1")

    def apply(new: str, region: str) -> None:
        file.write_text(new)
        answer = lab.edgenode("lon1", "apply")
        assert answer.returncode == 0, answer.stderr
        wait_until(lambda: region_of(lab, "par") == region, 10, f"users are taken to {region}")

    def with_key(header: str, name: str, key: str, text: str = text) -> str:
        first = f'[[{header}]]\nname = "{name}"\n'
        assert first in text
        return text.replace(first, f"{first}{key}\n")

    drained = with_key("regions", nearest, "draining = true")
    try:
        apply(drained, following)
        trace = json.loads(lab.edgenode("lon1", "trace", "198.51.100.7", "--json").stdout)
        passed_over = next(one for one in trace["regions"] if one["region"] == nearest)
        assert passed_over["why"] == "draining: it gets no new connections"
        assert {worker["state"] for worker in passed_over["workers"]} == {"up"}
        for name in (following, farthest):
            drained = with_key("regions", name, "draining = true", drained)
        apply(drained, nearest)  # that is better than nobody
        apply(with_key("services", "web", f'pin = "{farthest}"'), farthest)
    finally:
        apply(text, nearest)


def test_a_cut_tunnel_moves_users_to_the_next_region_and_back(lab: Lab) -> None:
    nearest, following = lab.topology.regions_by_distance("lon1")[:2]
    wait_until(lambda: region_of(lab, "par") == nearest, 10, "the nearest region")
    cut = lab.cut_region("lon1", nearest)

    def in_table() -> bool:
        answer = json.loads(lab.edgenode("lon1", "trace", "198.51.100.7", "--json").stdout)
        candidate = next(one for one in answer["regions"] if one["region"] == nearest)
        return any(worker["in_table"] for worker in candidate["workers"])

    wait_until(lambda: not in_table(), 15, f"{nearest} is in no table")
    # One and a half probe intervals, and a second for two commands on a busy machine.
    assert time.time() - cut < 1.5 + 1.0
    wait_until(lambda: region_of(lab, "par") == following, 15, "the next region")
    # The cut is between those two alone: other edges still reach the region.
    assert lab.edgenode("nyc1", "status", "--json").returncode == 0
    lab.heal_region("lon1", nearest)
    wait_until(lambda: region_of(lab, "par") == nearest, 30, "the nearest region again")


def test_a_bird_that_was_killed_is_started_and_announces_again(lab: Lab) -> None:
    lab.kill("lon1", "bird")
    for prefix in STATIC.prefixes:
        wait_until(lambda p=prefix: lab.best_edge("lon", p) == "nyc1", 10, "lon has moved")  # type: ignore[misc]
    lab.start("lon1", "bird")
    lab.wait_announced("lon1")
    lab.wait_served("par", WEB)
