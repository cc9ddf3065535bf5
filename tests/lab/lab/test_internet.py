"""The lab's internet, with plain BIRDs at the edges: delays, routes, users, captures."""

from __future__ import annotations

import signal
import socket
import time
from itertools import product
from pathlib import Path

import pytest

from edgenode.lab import STATIC, Lab, LabError, LabTimeout, next_success, wait_until
from edgenode.lab.segments import SYN, segments
from edgenode.lab.wire import Update, updates

V4, V6 = STATIC.prefixes


def probe(lab: Lab, source: str, destination: str, version: int) -> float:
    """The best of several round-trips, in milliseconds: a SYN to a closed port and its RST."""
    end = lab.topology.links_of(destination)[0].end(destination)
    host = str(end.ipv4.ip if version == 4 else end.ipv6.ip)
    best = float("inf")
    for _ in range(10):
        with lab.inside(source):
            client = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6)
        with client:
            client.settimeout(3)
            start = time.perf_counter()
            with pytest.raises(ConnectionRefusedError):
                client.connect((host, 9))
            best = min(best, (time.perf_counter() - start) * 1000)
    return best


@pytest.mark.parametrize("version", [4, 6])
def test_round_trips_are_those_of_the_table(internet: Lab, version: int) -> None:
    for source, destination in (("par", "lon1"), ("tyo", "sin1"), ("nyc1", "fra"), ("lon", "par")):
        wanted = internet.topology.rtt(source, destination)
        measured = probe(internet, source, destination, version)
        assert wanted < measured < wanted + 1.5, (source, destination)


def test_users_reach_the_nearest_edge(internet: Lab) -> None:
    for user, address in product(internet.topology.users, map(str, STATIC.addresses)):
        answer = internet.get(user.name, address)
        assert answer.ok
        assert answer.body is not None
        assert answer.body["edge"] == internet.topology.edges_by_distance(user.name)[0]
        assert answer.connect_ms is not None
        assert answer.connect_ms >= internet.topology.rtt(user.name, answer.body["edge"])


def test_transits_take_nothing_but_the_anycast_prefixes(internet: Lab) -> None:
    for prefix in ("203.0.113.128/25", "0.0.0.0/0", "2001:db8:f::/48"):
        assert internet.routes("lon", prefix) == ()
    assert {route.edge for route in internet.routes("lon", V4)} == {"lon1", "nyc1", "sin1"}


def from_edge(lab: Lab, edge: str, found: list[Update]) -> list[Update]:
    end = lab.topology.uplink(edge).end(edge)
    return [update for update in found if update.source in (end.ipv4.ip, end.ipv6.ip)]


def test_a_withdraw_moves_the_users(calm: Lab, tmp_path: Path) -> None:
    with calm.captures(["lon", "par"], tmp_path) as files:
        load = calm.requests("par", STATIC.addresses[1])
        wait_until(lambda: len(load.requests()) > 10, 5, "requests")
        moment = time.time()
        for version in (4, 6):
            calm.birdc("lon1", f"disable static{version}")
        calm.wait_withdrawn("lon1", STATIC)
        wait_until(lambda: next_success(load.requests(), moment + 0.3), 5, "served again")
        load.stop()
    told = from_edge(calm, "lon1", updates(files["lon"]))
    withdrawn = {prefix: update.time for update in told for prefix in update.withdrawn}
    assert set(withdrawn) == {str(V4), str(V6)}
    assert all(moment < when < moment + 1 for when in withdrawn.values())
    late = [r for r in load.requests() if r.started > moment + 0.3]
    assert late
    assert all(r.body and r.body["edge"] == "nyc1" for r in late)
    syns = [
        s for s in segments(files["par"], 80) if s.flags & SYN and s.flow.destination_port == 80
    ]
    assert len({s.flow for s in syns}) == len(load.requests())
    assert calm.best_edge("sin", V4) == "sin1"


def test_a_drained_route_is_the_lesser_choice(calm: Lab, tmp_path: Path) -> None:
    with calm.captures(["lon"], tmp_path, "tcp port 179") as files:
        for version in (4, 6):
            calm.birdc("lon1", f"enable static_drained{version}")
            calm.birdc("lon1", f"disable static{version}")
        for prefix in STATIC.prefixes:
            wait_until(lambda p=prefix: calm.best_edge("lon", p) == "nyc1", 5, "lon drained")  # type: ignore[misc]
            route = calm.edge_route("lon1", prefix)
            assert route is not None
            assert (route.drained, route.best, route.local_pref) == (True, False, 0)
    told = from_edge(calm, "lon1", updates(files["lon"]))
    for prefix in STATIC.prefixes:
        last = [u for u in told if str(prefix) in u.announced][-1]
        assert (65535, 0) in last.communities
    assert not any(update.withdrawn for update in told)


def test_when_all_are_drained_the_drained_still_serve(calm: Lab) -> None:
    for node in calm.topology.edges:
        calm.birdc(node.name, "enable static_drained4")
        calm.birdc(node.name, "disable static4")
    wait_until(lambda: calm.best_edge("lon", V4) == "lon1", 5, "lon uses its own drained route")
    wait_until(lambda: calm.get("par", STATIC.addresses[0], timeout=1).ok, 5, "served")


def test_a_prepended_route_is_farther_than_any_other(calm: Lab) -> None:
    calm.birdc("sin1", "enable static_longer4")
    calm.birdc("sin1", "disable static4")
    wait_until(lambda: calm.best_edge("sin", V4) == "lon1", 5, "sin prefers lon1")
    route = calm.edge_route("sin1", V4)
    assert route is not None
    assert route.as_path == (64700, 64700)


def test_a_killed_bird_takes_its_routes_along(calm: Lab) -> None:
    calm.kill("nyc1", "bird")
    wait_until(lambda: calm.best_edge("nyc", V4) == "lon1", 5, "nyc has moved")
    assert calm.get("bos", STATIC.addresses[0]).ok
    # The lab renders an edge's BIRD configuration anew; here it is a plain one.
    calm._spawn(calm._daemon("nyc1", "bird"))
    calm.wait_sessions()


def test_a_cut_link_is_silent_and_heals(calm: Lab) -> None:
    address = STATIC.addresses[0]
    calm.cut_link("par", "lon")
    lost = calm.get("par", address, timeout=0.3)
    assert (lost.ok, lost.error) == (False, "timeout")
    calm.heal_link("par", "lon")
    assert calm.get("par", address).ok
    with pytest.raises(LabError, match="one city"):
        calm.cut_link("lon", "lon1")


def test_a_delay_can_be_changed(calm: Lab) -> None:
    calm.set_rtt("par", "lon", 60)
    try:
        assert 60 < probe(calm, "par", "lon", 4) < 62
    finally:
        calm.set_rtt("par", "lon", calm.topology.link("par", "lon").rtt)


def test_all_processes_of_a_daemon_are_killed_and_it_starts_again(calm: Lab) -> None:
    before = calm.pids("sin1", "nginx")
    assert len(before) == 2
    assert before[0] == calm.main_pid("sin1", "nginx")
    others = calm.pids("lon1", "nginx")
    moment = calm.kill("sin1", "nginx")
    assert time.time() - 5 < moment < time.time()
    assert calm.pids("sin1", "nginx") == []
    assert calm.get("tyo", STATIC.addresses[0]).error == "refused"
    with pytest.raises(LabError, match="does not run"):
        calm.main_pid("sin1", "nginx")
    calm.start("sin1", "nginx")
    calm.wait_served("tyo", STATIC, 5)
    with pytest.raises(LabError, match="runs already"):
        calm.start("sin1", "nginx")
    assert calm.pids("lon1", "nginx") == others


def test_held_connections_tell_their_fate(calm: Lab) -> None:
    load = calm.hold("bos", STATIC.addresses[0], connections=5, every=0.05)
    calm.kill("nyc1", "nginx", signal.SIGSTOP)
    time.sleep(0.2)
    calm.kill("nyc1", "nginx", signal.SIGCONT)
    time.sleep(0.2)
    assert load.held() == []
    moment = calm.kill("nyc1", "nginx")
    wait_until(lambda: len(load.held()) == 5, 10, "all connections are lost")
    load.stop()
    for held in load.held():
        assert held.lost in ("eof", "reset")
        assert held.lost_at is not None
        assert moment < held.lost_at < moment + 0.5
        assert held.answered > 2
        assert held.first is not None
        assert held.first["edge"] == "nyc1"
        assert held.after is None


def test_connections_that_last_are_not_lost(calm: Lab) -> None:
    load = calm.hold("par", STATIC.addresses[1], connections=3, every=0.05)
    time.sleep(0.3)
    load.stop()
    assert [(held.lost, held.last and held.last["edge"]) for held in load.held()] == [
        (None, "lon1")
    ] * 3
    timed = calm.requests("par", STATIC.addresses[0], every=0.05, duration=0.5)
    timed.wait(0.5)
    assert 9 <= len(timed.requests()) <= 11


def test_what_is_waited_for_in_vain_is_named(internet: Lab) -> None:
    with pytest.raises(LabTimeout, match=r"lon1 withdraws 192\.0\.2\.0/24"):
        internet.wait_withdrawn("lon1", STATIC, timeout=0.05)
    with pytest.raises(LabError, match="no daemon 'haproxy': it has nginx, bird"):
        internet.pids("lon1", "haproxy")
