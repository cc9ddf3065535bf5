"""One whole node in a small lab, and what happens when parts of it end, hang or are told to.

Everything is seen from outside: the transit's routes, the users' requests, the command's output.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgenode.lab import STATIC, WEB, Group, Lab, Layout, Settings, plan, wait_until
from edgenode.lab.delays import built_in
from edgenode.lab.nodes.edge import command_line
from edgenode.lab.wire import updates

EDGE, TRANSIT, REGION, USER = "lon1", "lon", "fra", "par"
LAYOUT = Layout(
    transits=(TRANSIT,), neighbors=(), edges=(TRANSIT,), regions=(REGION,), users=(USER,)
)
GRACE = 4.0
SCRAPE = (
    "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9500/metrics').read().decode())"
)

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    settings = Settings(grace=GRACE, heartbeat_timeout=30.0, drain_time=1.0)
    with Lab("tnode", plan(built_in(), LAYOUT), settings) as lab:
        lab.up()
        yield lab


@pytest.fixture(autouse=True)
def whole(lab: Lab) -> Iterator[None]:
    """Each test finds everything announced, and has to leave it so."""
    yield
    for group in (WEB, STATIC):
        lab.wait_announced(EDGE, group)


def announced(lab: Lab, group: Group) -> bool:
    return all(lab.edge_route(EDGE, prefix) for prefix in group.prefixes)


def status(lab: Lab) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(lab.edgenode(EDGE, "status", "--json").stdout)
    return answer


def stays(lab: Lab, group: Group, wanted: bool, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert announced(lab, group) is wanted
        time.sleep(0.05)


def with_full_grace(lab: Lab) -> None:
    """A lifeline that has seen no control die: its grace is an allowance, and tests use it up."""
    lab.kill(EDGE, "lifeline", signal.SIGKILL)
    for group in (WEB, STATIC):
        lab.wait_withdrawn(EDGE, group, timeout=5)
    lab.start(EDGE, "lifeline")
    for group in (WEB, STATIC):
        lab.wait_announced(EDGE, group)


@contextmanager
def wire(lab: Lab, tmp_path: Path) -> Iterator[Path]:
    with lab.captures([TRANSIT], tmp_path, "tcp port 179") as files:
        yield files[TRANSIT]
        time.sleep(0.3)


def test_a_restarted_control_takes_over_without_a_withdraw(lab: Lab, tmp_path: Path) -> None:
    with_full_grace(lab)
    with wire(lab, tmp_path) as pcap:
        lab.kill(EDGE, "control", signal.SIGKILL)
        lab.start(EDGE, "control")
        wait_until(lambda: lab.edgenode(EDGE, "status").returncode == 0, 20, "control is back")
        time.sleep(GRACE + 1)
        assert announced(lab, WEB)
        assert announced(lab, STATIC)
    assert not [update for update in updates(pcap) if update.withdrawn or update.announced]


def test_a_control_that_does_not_come_back_is_waited_for_as_long_as_the_grace(lab: Lab) -> None:
    with_full_grace(lab)
    killed = lab.kill(EDGE, "control", signal.SIGKILL)
    lab.wait_withdrawn(EDGE, WEB)
    assert GRACE - 0.5 < time.time() - killed < GRACE + 3
    answer = lab.edgenode(EDGE, "status")
    assert answer.returncode == 1
    assert "edgenode control cannot be reached" in answer.stderr
    assert answer.stderr.count("\n") == 1
    lab.start(EDGE, "control")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_withdraw_all_works_with_control_dead_or_hung(lab: Lab, how: signal.Signals) -> None:
    pid = lab.main_pid(EDGE, "control")
    if how is signal.SIGKILL:
        lab.kill(EDGE, "control", how)
    else:
        os.kill(pid, how)
    told = lab.edgenode(EDGE, "withdraw", "--all", "--reason", "fire")
    assert told.returncode == 0, told.stderr
    assert not announced(lab, WEB)
    assert not announced(lab, STATIC)
    if how is signal.SIGKILL:
        lab.start(EDGE, "control")
    else:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: lab.edgenode(EDGE, "status").returncode == 0, 20, "control is back")
    stays(lab, STATIC, False, 4)
    groups = {group["name"]: group for group in status(lab)["groups"]}
    assert groups["static"]["level"] == "withdrawn"
    assert groups["static"]["intent"]["reason"] == "fire"
    assert lab.edgenode(EDGE, "undrain", "--all").returncode == 0


def test_a_drain_outlasts_a_restart_of_control(lab: Lab) -> None:
    assert lab.edgenode(EDGE, "drain", "static", "--reason", "rack move").returncode == 0
    lab.wait_withdrawn(EDGE, STATIC)
    lab.kill(EDGE, "control", signal.SIGKILL)
    lab.start(EDGE, "control")
    lab.wait_announced(EDGE, WEB)
    stays(lab, STATIC, False, 2)
    assert lab.edgenode(EDGE, "undrain", "static").returncode == 0


def test_a_bird_that_was_killed_is_brought_to_the_wanted_state(lab: Lab) -> None:
    lab.kill(EDGE, "bird", signal.SIGKILL)
    lab.wait_withdrawn(EDGE, WEB)
    wait_until(lambda: "start BIRD" in status(lab)["bird"]["problem"], 10, "it is said what to do")
    lab.start(EDGE, "bird")
    lab.wait_announced(EDGE, WEB)
    assert all(group["in_force"] for group in status(lab)["groups"])


def test_what_somebody_else_told_bird_is_put_right(lab: Lab) -> None:
    lab.birdc(EDGE, "configure")  # its file has everything disabled
    lab.wait_withdrawn(EDGE, STATIC, timeout=5)
    lab.wait_announced(EDGE, STATIC, timeout=10)
    assert lab.edgenode(EDGE, "withdraw", "static").returncode == 0
    lab.wait_withdrawn(EDGE, STATIC)
    lab.birdc(EDGE, "enable static_v4_normal")
    wait_until(lambda: lab.edge_route(EDGE, STATIC.prefixes[0]), 5, "BIRD announces it")
    lab.wait_withdrawn(EDGE, STATIC, timeout=10)
    assert lab.edgenode(EDGE, "undrain", "static").returncode == 0


def test_a_proxy_that_died_while_control_was_away_is_found_at_once(lab: Lab) -> None:
    with_full_grace(lab)
    lab.kill(EDGE, "control", signal.SIGKILL)
    lab.kill(EDGE, "nginx", signal.SIGKILL)
    lab.start(EDGE, "control")
    lab.wait_withdrawn(EDGE, STATIC, timeout=10)
    assert announced(lab, WEB)
    lab.start(EDGE, "nginx")


def test_a_drain_does_not_bring_back_what_was_withdrawn(lab: Lab) -> None:
    assert lab.edgenode(EDGE, "withdraw", "static", "--reason", "fire").returncode == 0
    lab.wait_withdrawn(EDGE, STATIC)
    lab.edgenode(EDGE, "drain", "--all", "--reason", "reboot")
    stays(lab, STATIC, False, 1)
    assert lab.edgenode(EDGE, "undrain", "--all").returncode == 0


def test_without_a_lifeline_an_operators_withdraw_reaches_bird(lab: Lab) -> None:
    lab.kill(EDGE, "lifeline", signal.SIGKILL)
    lab.kill(EDGE, "control", signal.SIGKILL)
    lab.start(EDGE, "control")
    wait_until(lambda: lab.edgenode(EDGE, "status").returncode == 0, 20, "control is back")
    assert lab.edgenode(EDGE, "withdraw", "static").returncode == 0
    groups = {group["name"]: group for group in status(lab)["groups"]}
    assert groups["static"]["level"] == "withdrawn"
    assert groups["static"]["in_force"] is True
    assert lab.edgenode(EDGE, "undrain", "static").returncode in (0, 1)  # nothing announces it yet
    lab.start(EDGE, "lifeline")


def test_a_reader_of_the_log_that_hangs_withdraws_nothing(lab: Lab) -> None:
    """Standard error is a pipe that nobody reads, and each event is a line."""
    lab.kill(EDGE, "control", signal.SIGKILL)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with lab.inside(EDGE):
        process = subprocess.Popen(
            command_line(lab.directory(EDGE) / "edgenode.toml", "control", "--verbose"),
            stdin=subprocess.DEVNULL,
            stderr=writer,
            start_new_session=True,
        )
    try:
        lab.wait_announced(EDGE, STATIC)
        for _ in range(4):  # each a few lines: more than the pipe holds
            lab.edgenode(EDGE, "withdraw", "web", "--reason", "x" * 2000)
        stays(lab, STATIC, True, 3)
        assert lab.edgenode(EDGE, "undrain", "web", timeout=10).returncode == 0
        lab.wait_announced(EDGE, WEB)
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        os.close(writer)
    lab.start(EDGE, "control")


def test_a_lifeline_that_was_killed_withdraws_and_comes_back(lab: Lab) -> None:
    lab.kill(EDGE, "lifeline", signal.SIGKILL)
    lab.wait_withdrawn(EDGE, WEB, timeout=5)
    lab.wait_withdrawn(EDGE, STATIC, timeout=5)
    lab.start(EDGE, "lifeline")


def test_steering_that_was_killed_takes_its_prefix_and_no_other(lab: Lab) -> None:
    lab.kill(EDGE, "steering", signal.SIGKILL)
    lab.wait_withdrawn(EDGE, WEB, timeout=5)
    assert announced(lab, STATIC)
    lab.start(EDGE, "steering")


def test_without_a_reachable_region_the_steered_prefix_goes(lab: Lab) -> None:
    lab.cut_region(EDGE, REGION)
    lab.wait_withdrawn(EDGE, WEB, timeout=15)
    assert announced(lab, STATIC)
    (web,) = [group for group in status(lab)["groups"] if group["name"] == "web"]
    assert "reachable region" in " ".join(web["reasons"])
    lab.heal_region(EDGE, REGION)


def test_the_end_of_wireguard_is_said_and_survived(lab: Lab) -> None:
    if "wireguard" not in lab.daemons(EDGE):
        pytest.skip("the kernel has WireGuard: there is no process to kill")
    lab.kill(EDGE, "wireguard", signal.SIGKILL)
    lab.wait_withdrawn(EDGE, WEB, timeout=15)
    wait_until(lambda: "wireguard-go" in status(lab)["mesh"]["problem"], 15, "it is said")
    lab.start(EDGE, "wireguard")


def test_the_metrics_have_the_relay_workers_too(lab: Lab) -> None:
    def text() -> str:
        return subprocess.run(
            [*("ip", "netns", "exec", lab.namespace(EDGE), "python3", "-c"), SCRAPE],
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout

    def accepted() -> float:
        for line in text().splitlines():
            if line.startswith('edgenode_service_accepted_total{service="web"}'):
                return float(line.rpartition(" ")[2])
        return -1.0

    before = wait_until(lambda: max(accepted(), 0.5), 10, "there are metrics")
    for _ in range(5):
        assert lab.get(USER, WEB.addresses[0]).ok
    wait_until(lambda: accepted() >= int(before) + 5, 5, "the connections are counted")
    assert 'edgenode_group_level{group="web",level="normal"} 1.0' in text()
    assert "edgenode_relay_workers_healthy" in text()


def test_a_second_control_is_refused(lab: Lab) -> None:
    second = lab.edgenode(EDGE, "control")
    assert second.returncode == 1
    assert "another edgenode control runs" in second.stderr
    assert announced(lab, WEB)


def test_the_command_says_what_is_wrong_and_touches_nothing(lab: Lab, tmp_path: Path) -> None:
    config = lab.directory(EDGE) / "edgenode.toml"
    broken = tmp_path / "broken.toml"
    broken.write_text(config.read_text().replace("interval", "intervall"))
    for arguments in (("check-config",), ("apply",), ("steering",), ("render", "bird")):
        answer = lab.edgenode(EDGE, *arguments, "--config", str(broken))
        assert answer.returncode == 2, arguments
        assert 'did you mean "interval"' in answer.stderr
        assert f"{broken}:" in answer.stderr
    answer = lab.edgenode(EDGE, "check-config")
    assert answer.returncode == 0, answer.stderr
    for wrong in (["drain"], ["drain", "wbe"], ["withdraw", "web", "--all"]):
        answer = lab.edgenode(EDGE, *wrong)
        assert answer.returncode == 2
        assert answer.stderr.startswith("edgenode: ")
    assert announced(lab, WEB)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_an_exec_runner_that_is_away_or_hangs_withdraws_nothing_and_is_told_of(
    lab: Lab, how: signal.Signals
) -> None:
    if how is signal.SIGKILL:
        lab.kill(EDGE, "exec-runner", how)
        said = "edgenode exec-runner is away"
    else:
        (pid,) = lab.pids(EDGE, "exec-runner")[:1]
        os.kill(pid, how)
        said = "edgenode exec-runner does not answer"
    wait_until(lambda: said in lab.edgenode(EDGE, "status").stdout, 20, f"status says: {said}")
    (disk,) = (check for check in status(lab)["checks"] if check["name"] == "disk")
    assert disk["state"] == "up"
    stays(lab, WEB, True, 2.0)
    if how is signal.SIGKILL:
        lab.start(EDGE, "exec-runner")
    else:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: said not in lab.edgenode(EDGE, "status").stdout, 20, "it runs them again")
    assert announced(lab, WEB)


def test_an_address_in_use_and_a_missing_right_are_one_sentence(lab: Lab, tmp_path: Path) -> None:
    text = (lab.directory(EDGE) / "edgenode.toml").read_text()
    other = tmp_path / "other.toml"
    other.write_text(text.replace(str(lab.directory(EDGE)), str(tmp_path)))
    (tmp_path / "state").mkdir()
    answer = lab.edgenode(EDGE, "control", "--config", str(other))
    assert answer.returncode == 1
    assert "127.0.0.1:9500" in answer.stderr
    assert "Traceback" not in answer.stderr
    bare = subprocess.run(
        [
            *("ip", "netns", "exec", lab.namespace(EDGE)),
            *("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"),
            *command_line(other, "control"),
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert bare.returncode == 1
    assert "CAP_NET_ADMIN" in bare.stderr
    assert bare.stderr.count("\n") == 1
    assert announced(lab, WEB)


def test_secrets_are_in_no_output(lab: Lab) -> None:
    key = (lab.directory(EDGE) / "state" / "control" / "wireguard.key").read_text().strip()
    for arguments in (("render", "wireguard"), ("render", "bird"), ("status", "--json")):
        answer = lab.edgenode(EDGE, *arguments)
        assert answer.returncode == 0
        assert key not in answer.stdout + answer.stderr
    for log in lab.directory(EDGE).glob("*.log"):
        assert key not in log.read_text(errors="replace")


def test_a_check_that_cannot_be_made_for_long_takes_its_groups_and_no_other(lab: Lab) -> None:
    lab.wait_announced(EDGE, WEB)
    lab.wait_announced(EDGE, STATIC)
    lab.kill(EDGE, "exec-runner", signal.SIGKILL)
    stays(lab, WEB, True, 20.0)
    lab.wait_withdrawn(EDGE, WEB, timeout=20)
    assert "check disk could not be made for long" in lab.edgenode(EDGE, "why", "web").stdout
    stays(lab, STATIC, True, 3.0)
    lab.start(EDGE, "exec-runner")
    lab.wait_announced(EDGE, WEB)
