"""What operators do to a node, and what its neighbors see of it: two edges, each with a transit.

The first transit tells the first edge of the second one's routes, as a provider does that sends
additional paths (RFC 7911).
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edgenode.lab import STATIC, WEB, Group, Lab, Layout, Settings, plan, wait_until
from edgenode.lab.delays import built_in

EDGE, TRANSIT, OTHER = "lon1", "lon", "nyc1"
LAYOUT = Layout(
    transits=(TRANSIT, "nyc"),
    neighbors=((TRANSIT, "nyc"),),
    edges=(TRANSIT, "nyc"),
    regions=("fra",),
    workers=1,
    users=("par",),
)
DRAIN_TIME = 12.0
CHECKS = ("part-a", "part-b", "part-c")

pytestmark = pytest.mark.timeout(90)


def configure(lab: Lab) -> None:
    """A quorum, a view of other sites, damping, a file for maintenance: on the first edge."""
    directory = lab.directory(EDGE)
    path = directory / "edgenode.toml"
    text = path.read_text()
    text = text.replace("[bgp]\n", '[bgp]\ndrain_idle = "1.5s"\n', 1)
    text = text.replace("[bgp]\n", f'maintenance_file = "{directory}/maintenance"\n\n[bgp]\n', 1)
    text = text.replace("[[bgp.neighbors]]\n", "[[bgp.neighbors]]\nlast_site_view = true\n")
    at = text.index('name = "static"')
    rules = (
        "[[groups.rules]]\n"
        f"checks = {json.dumps(CHECKS)}\n"
        'need = "quorum"\nlow = 0.5\nhigh = 1.0\nlevel = "degraded"\n'
        "[groups.damping]\nenabled = true\nsuppress = 4500\n"
        'half_life = "10s"\nmax_suppress = "60s"\n'
    )
    old = "[groups.damping]\nenabled = false\n"
    text = text[:at] + text[at:].replace(old, rules, 1)
    for name in CHECKS:
        (directory / name).touch()
        text += (
            f'\n[[checks]]\nname = "{name}"\ntype = "exec"\n'
            f'command = ["/usr/bin/test", "-e", "{directory / name}"]\n'
            'interval = "300ms"\nrise = 1\nfall = 1\non_warning = "down"\n'
        )
    path.write_text(text)
    restart(lab)
    # The transit tells what it has from elsewhere.
    conf = lab.directory(TRANSIT) / "bird.conf"
    parts = re.split(r"(?=^protocol bgp )", conf.read_text(), flags=re.M)
    told = "add paths tx; export filter { if anycast() then accept; reject; };"
    conf.write_text(
        "".join(
            part.replace("export none;", told) if part.startswith(f"protocol bgp {EDGE}_") else part
            for part in parts
        )
    )
    assert "Reconfig" in lab.birdc(TRANSIT, "configure")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    settings = Settings(grace=20.0, heartbeat_timeout=30.0, drain_time=DRAIN_TIME, fall=2, rise=1)
    with Lab("tops", plan(built_in(), LAYOUT), settings) as lab:
        lab.up()
        configure(lab)
        lab.wait_sessions()
        for edge in (EDGE, OTHER):
            lab.wait_announced(edge)
        yield lab


@pytest.fixture(autouse=True)
def whole(lab: Lab) -> Iterator[None]:
    """Each test finds everything announced and nothing wanted, and has to leave it so."""
    yield
    (lab.directory(EDGE) / "maintenance").unlink(missing_ok=True)
    tell(lab, "resume")
    tell(lab, "release", "--all", "--force")
    for group in (WEB, STATIC):
        lab.wait_announced(EDGE, group)
        lab.wait_announced(OTHER, group)


def tell(lab: Lab, *arguments: str, edge: str = EDGE) -> subprocess.CompletedProcess[str]:
    shown = lab.edgenode(edge, *arguments)
    assert shown.returncode == 0, shown.stderr
    return shown


def with_full_grace(lab: Lab) -> None:
    """A lifeline that has seen no control die: its grace is an allowance, and restarts use it."""
    lab.kill(EDGE, "lifeline", signal.SIGKILL)
    for group in (WEB, STATIC):
        lab.wait_withdrawn(EDGE, group, timeout=5)
    lab.start(EDGE, "lifeline")
    for group in (WEB, STATIC):
        lab.wait_announced(EDGE, group)


def restart(lab: Lab) -> None:
    lab.kill(EDGE, "control", signal.SIGKILL)
    lab.start(EDGE, "control")
    wait_until(lambda: lab.edgenode(EDGE, "status").returncode == 0, 20, "control is back")


def why(lab: Lab, group: Group) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(tell(lab, "why", group.name, "--json").stdout)
    return answer


def drained(lab: Lab, group: Group) -> bool:
    routes = [lab.edge_route(EDGE, prefix) for prefix in group.prefixes]
    return all(route and route.drained for route in routes)


def path_length(lab: Lab, group: Group, family: int) -> int:
    """Of what the edge announces, as its transit has it; 0: nothing."""
    route = lab.edge_route(EDGE, group.prefixes[family])
    return len(route.as_path) if route else 0


def announced(lab: Lab, group: Group) -> bool:
    return all(lab.edge_route(EDGE, prefix) for prefix in group.prefixes)


def stays(lab: Lab, group: Group, wanted: bool, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert announced(lab, group) is wanted
        time.sleep(0.05)


def test_a_drain_is_proven_and_the_neighbor_has_it(lab: Lab) -> None:
    tell(lab, "drain", "static", "--reason", "rack move", "--author", "ann")
    wait_until(lambda: drained(lab, STATIC), 3, "the transit has the community")

    def proven() -> bool:
        group = why(lab, STATIC)["group"]
        return bool(group["sent"]) and group["sent"]["level"] == "drained"

    wait_until(proven, 3, "it is proven")
    explained = why(lab, STATIC)
    assert explained["group"]["sent"]["to"] == ["transit-v4", "transit-v6"]
    assert explained["group"]["sent"]["not_to"] == {}
    assert [neighbor["as_told"] for neighbor in explained["neighbors"]] == [True, True]
    assert explained["intents"][0]["author"] == "ann"
    shown = tell(lab, "why", str(STATIC.prefixes[0])).stdout
    assert "neighbor   transit-v4: sent, as drained" in shown
    assert "drained by ann (rack move)" in shown
    told = tell(lab, "history", "--group", "static", "--kind", "proof", "-n", "1").stdout
    assert "static: drained was sent to transit-v4, transit-v6" in told


def test_a_drain_ends_when_no_user_is_left_and_else_at_its_deadline(lab: Lab) -> None:
    with_full_grace(lab)
    began = time.monotonic()
    tell(lab, "drain", "--all")
    lab.wait_withdrawn(EDGE, WEB)
    assert time.monotonic() - began < DRAIN_TIME - 3, "steering said that nobody is left"
    assert announced(lab, STATIC), "of users of a group that is not steered nothing is known"
    assert "no user is left" in tell(lab, "history", "--group", "web", "--kind", "group").stdout
    restart(lab)
    stays(lab, WEB, False, 1)  # and no restart announces it again for the rest of its time
    lab.wait_withdrawn(EDGE, STATIC)
    assert time.monotonic() - began > DRAIN_TIME - 1


def test_a_quorum_degrades_with_hysteresis(lab: Lab) -> None:
    with_full_grace(lab)
    first, second, _ = (lab.directory(EDGE) / name for name in CHECKS)
    normal = path_length(lab, STATIC, 0)
    first.unlink()
    time.sleep(1.5)
    assert path_length(lab, STATIC, 0) == normal, "two of three are more than half"
    second.unlink()
    wait_until(lambda: path_length(lab, STATIC, 0) == normal + 2, 5, "it is degraded")
    assert path_length(lab, WEB, 0) == normal
    second.touch()
    time.sleep(1.5)
    assert path_length(lab, STATIC, 0) == normal + 2, "not before all three are up again"
    restart(lab)
    time.sleep(2)
    assert path_length(lab, STATIC, 0) == normal + 2, "a restart does not forget where it stood"
    first.touch()
    wait_until(lambda: path_length(lab, STATIC, 0) == normal, 15, "it is normal again")


def test_degrading_towards_one_neighbor_lasts(lab: Lab) -> None:
    with_full_grace(lab)
    normal = path_length(lab, WEB, 0)
    tell(lab, "degrade", "web", "--neighbor", "transit-v4", "--reason", "loss there")

    def shifted() -> bool:
        return (path_length(lab, WEB, 0), path_length(lab, WEB, 1)) == (normal + 2, normal)

    wait_until(shifted, 3, "only the IPv4 session has the lesser route")
    assert path_length(lab, STATIC, 0) == normal
    neighbors = {each["name"]: each for each in why(lab, WEB)["neighbors"]}
    assert neighbors["transit-v4"]["as_told"] is True
    lab.birdc(EDGE, "configure")
    wait_until(lambda: announced(lab, WEB), 10, "control has put it right")
    assert shifted()
    restart(lab)
    time.sleep(1)
    assert shifted()
    tell(lab, "release", "web", "--neighbor", "transit-v4")
    wait_until(lambda: path_length(lab, WEB, 0) == normal, 3, "both have the same again")


def test_a_pause_holds_announcements_with_a_dead_proxy(lab: Lab) -> None:
    tell(lab, "pause", "--reason", "checks are wrong", "--author", "ann")
    lab.kill(EDGE, "nginx", signal.SIGKILL)
    stays(lab, STATIC, True, 3)
    assert "PAUSED by ann" in tell(lab, "status").stdout
    shown = tell(lab, "why", "static").stdout
    assert "PAUSED" in shown
    assert "else it would be withdrawn: check nginx-v" in shown
    # Whom an operator takes away goes all the same.
    tell(lab, "withdraw", "web")
    lab.wait_withdrawn(EDGE, WEB, timeout=2)
    tell(lab, "release", "web")
    stays(lab, WEB, False, 1.5)
    tell(lab, "resume")
    lab.wait_withdrawn(EDGE, STATIC, timeout=3)
    lab.start(EDGE, "nginx")


def test_a_pause_is_taken_with_control_dead_and_holds_when_it_is_back(lab: Lab) -> None:
    with_full_grace(lab)
    lab.kill(EDGE, "control", signal.SIGKILL)
    told = tell(lab, "pause", "--reason", "fire drill")
    assert "the lifeline alone decides" in told.stderr
    lab.kill(EDGE, "nginx", signal.SIGKILL)
    lab.start(EDGE, "control")
    wait_until(lambda: lab.edgenode(EDGE, "status").returncode == 0, 20, "control is back")
    stays(lab, STATIC, True, 5)
    tell(lab, "withdraw", "--all")
    lab.wait_withdrawn(EDGE, STATIC, timeout=2)
    lab.start(EDGE, "nginx")


def test_a_file_is_maintenance(lab: Lab) -> None:
    file = lab.directory(EDGE) / "maintenance"
    file.write_text("new fans\n")
    wait_until(lambda: drained(lab, STATIC), 5, "the node drains")
    shown = json.loads(tell(lab, "status", "--json").stdout)
    (intent,) = shown["intents"]
    lab.kill(EDGE, "control", signal.SIGKILL)
    lab.kill(EDGE, "lifeline", signal.SIGKILL)
    lab.wait_withdrawn(EDGE, STATIC)
    lab.start(EDGE, "lifeline")
    lab.start(EDGE, "control")
    wait_until(lambda: lab.edgenode(EDGE, "status").returncode == 0, 20, "control is back")
    stays(lab, STATIC, False, 4)  # a node that boots in maintenance announces nothing first
    assert (intent["group"], intent["kind"], intent["reason"]) == ("*", "maintenance", "new fans")
    file.unlink()
    wait_until(
        lambda: not json.loads(tell(lab, "status", "--json").stdout)["intents"], 5, "it ends"
    )
    # What the tests before have cost it with its upstreams may hold it back for a while yet.
    tell(lab, "release", "static", "--force")
    wait_until(lambda: announced(lab, STATIC) and not drained(lab, STATIC), 3, "it is back")


def test_the_last_announcement_is_not_taken_away_unless_forced(lab: Lab) -> None:
    tell(lab, "withdraw", "web", edge=OTHER)
    lab.wait_withdrawn(OTHER, WEB)

    def alone() -> bool:
        found = why(lab, WEB)["other_sites"]
        return {each["outlook"] for each in found} == {"last"}

    wait_until(alone, 5, "no other site has it")
    for command in ("drain", "degrade", "withdraw", "maintenance"):
        refused = lab.edgenode(EDGE, command, "web")
        assert refused.returncode == 1, command
        assert "has no other site that is known here" in refused.stderr
        assert "--force" in refused.stderr
    assert announced(lab, WEB)
    assert not drained(lab, WEB)
    tell(lab, "drain", "static")  # this one has another
    wait_until(lambda: drained(lab, STATIC), 3, "it drains")
    tell(lab, "drain", "web", "--force")
    wait_until(lambda: drained(lab, WEB), 3, "so does this one, when told to")
    tell(lab, "release", "web", edge=OTHER)


def test_what_is_looked_at_goes_nowhere(lab: Lab) -> None:
    """Withdrawn here, the other site's route is the best that BIRD has: nobody is told of it."""
    tell(lab, "withdraw", "static")
    lab.wait_withdrawn(EDGE, STATIC)
    prefix = STATIC.prefixes[0]
    assert "transit_v4_bgp" in lab.birdc(EDGE, f"show route {prefix}")
    stays(lab, STATIC, False, 1)
    with lab.inside(EDGE):
        shown = subprocess.run(
            ["ip", "route", "show", str(prefix)], capture_output=True, text=True, check=True
        )
    assert "proto bird" not in shown.stdout


def test_a_flapping_proxy_waits_before_it_is_announced_again(lab: Lab) -> None:
    with_full_grace(lab)
    waited = False
    for _ in range(4):
        lab.kill(EDGE, "nginx", signal.SIGKILL)
        lab.wait_withdrawn(EDGE, STATIC, timeout=3)
        lab.start(EDGE, "nginx")
        time.sleep(1.5)
        if not announced(lab, STATIC):
            waited = True
            break
    assert waited
    shown = why(lab, STATIC)
    assert shown["group"]["waits"]["for"] == "normal"
    assert shown["group"]["waits"]["s"] > 1
    before = shown["group"]["penalty"]["value"]
    assert "damping: penalty" in " ".join(shown["group"]["reasons"])
    restart(lab)
    after = why(lab, STATIC)["group"]["penalty"]["value"]
    assert before / 4 < after <= before, "a restart does not forget it"
    lab.wait_announced(EDGE, STATIC, timeout=40)  # by itself
    assert why(lab, STATIC)["group"]["penalty"]["value"] <= 4500 - 2000
