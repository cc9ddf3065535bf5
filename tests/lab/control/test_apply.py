"""Another configuration for a node that runs, seen by its neighbor. There is no grace: the lifeline
would withdraw all in the moment in which control's connection ends.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgenode.control.trial import LOST
from edgenode.lab import STATIC, WEB, Lab, Layout, Settings, plan, wait_until
from edgenode.lab.delays import built_in
from edgenode.lab.wire import Update, updates
from tests.lab.control.test_node import announced, status, stays

EDGE, TRANSIT, REGION, USER = "lon1", "lon", "fra", "par"
LAYOUT = Layout(
    transits=(TRANSIT,), neighbors=(), edges=(TRANSIT,), regions=(REGION,), users=(USER,)
)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    settings = Settings(grace=0.0, heartbeat_timeout=2.0, drain_time=1.0)
    with Lab("tapply", plan(built_in(), LAYOUT), settings) as lab:
        lab.up()
        # The first text has proved itself.
        confirmed = lab.directory(EDGE) / "state" / "control" / "confirmed.toml"
        wait_until(confirmed.exists, 20, "the first configuration is trusted")
        yield lab


@pytest.fixture(autouse=True)
def whole(lab: Lab) -> Iterator[None]:
    """Each test begins and ends with the first configuration, and everything announced."""
    text = file(lab).read_text()
    yield
    file(lab).write_text(text)
    for daemon in ("nginx", "control"):
        if not lab.pids(EDGE, daemon):
            lab.start(EDGE, daemon)
    wait_until(lambda: lab.edgenode(EDGE, "status").returncode == 0, 20, "control runs")
    lab.edgenode(EDGE, "undo")  # after a test that failed in a trial
    apply(lab)
    for group in (WEB, STATIC):
        lab.wait_announced(EDGE, group)


def file(lab: Lab) -> Path:
    return lab.directory(EDGE) / "edgenode.toml"


def edit(lab: Lab, change: Callable[[str], str]) -> None:
    before = file(lab).read_text()
    after = change(before)
    assert after != before
    file(lab).write_text(after)


def replace(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


def without_static(text: str) -> str:
    """No group may be without a check, and no check without a group."""
    block = r'\[\[(groups|checks)\]\]\nname = "(static|nginx-v[46])"\n.*?\n\n'
    return re.sub(block, "", text, flags=re.DOTALL)


def apply(lab: Lab, *arguments: str) -> str:
    answer = lab.edgenode(EDGE, "apply", *arguments)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def refused(lab: Lab, *command: str) -> str:
    answer = lab.edgenode(EDGE, *command)
    assert answer.returncode in (1, 2), answer.stdout
    return answer.stderr


def configuration(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = status(lab)["configuration"]
    return found


@contextmanager
def wire(lab: Lab, tmp_path: Path) -> Iterator[list[Update]]:
    """What the edge told its upstream; filled when the block is left."""
    seen: list[Update] = []
    with lab.captures([TRANSIT], tmp_path, "tcp port 179") as files:
        yield seen
        time.sleep(0.5)
    seen += updates(files[TRANSIT])


@pytest.mark.parametrize("how", ["apply", "SIGHUP"])
def test_what_did_not_change_goes_on_with_no_grace(lab: Lab, tmp_path: Path, how: str) -> None:
    pid = lab.main_pid(EDGE, "control")
    edit(lab, replace('url = "http://192.0.2.1/"', 'url = "http://192.0.2.1/?other"'))
    counted = {check["name"]: check["succeeded"] for check in status(lab)["checks"]}
    with wire(lab, tmp_path) as seen:
        if how == "apply":
            told = apply(lab)
            assert '~ checks[nginx-v4].url: "http://192.0.2.1:80/" → ' in told
        else:
            os.kill(pid, signal.SIGHUP)
        wait_until(lambda: "Nothing changes" in apply(lab, "--dry-run"), 10, "it is in force")
        time.sleep(3)  # longer than the heartbeat's timeout
        assert announced(lab, WEB)
        assert announced(lab, STATIC)
    assert not [u for u in seen if u.withdrawn or u.announced]
    assert lab.main_pid(EDGE, "control") == pid
    after = {check["name"]: check["succeeded"] for check in status(lab)["checks"]}
    assert after["nginx-v6"] > counted["nginx-v6"], "it kept its counters"


def test_a_reload_keeps_the_tripwires(lab: Lab) -> None:
    edit(lab, replace("drain_time = 1.0", "drain_time = 2.0"))
    apply(lab)
    died = lab.kill(EDGE, "nginx")
    lab.wait_withdrawn(EDGE, STATIC, timeout=5)
    assert time.time() - died < lab.settings.polls_need


def test_many_reloads_lose_no_beat(lab: Lab, tmp_path: Path) -> None:
    text = file(lab).read_text()
    with wire(lab, tmp_path) as seen:
        for number in range(6):
            file(lab).write_text(text.replace("drain_time = 1.0", f"drain_time = 1.{number + 1}"))
            apply(lab)
        time.sleep(3)
    assert not [u for u in seen if u.withdrawn or u.announced]


def test_a_group_that_leaves_is_withdrawn_and_one_that_comes_waits_for_its_checks(
    lab: Lab, tmp_path: Path
) -> None:
    text = file(lab).read_text()
    edit(lab, without_static)
    with wire(lab, tmp_path) as seen:
        assert "- groups[static].prefixes" in apply(lab)
        lab.wait_withdrawn(EDGE, STATIC, timeout=5)
        stays(lab, WEB, True, 1)
        lab.kill(EDGE, "nginx")
        file(lab).write_text(text)
        apply(lab)
        stays(lab, STATIC, False, 2)
        lab.start(EDGE, "nginx")
        lab.wait_announced(EDGE, STATIC)
    gone = [prefix for update in seen for prefix in update.withdrawn]
    assert not set(map(str, WEB.prefixes)) & set(gone)


def test_a_dry_run_touches_nothing(lab: Lab) -> None:
    edit(lab, without_static)
    assert "- groups[static].prefixes" in apply(lab, "--dry-run", "--confirm", "60s")
    stays(lab, STATIC, True, 1)
    assert [group["name"] for group in status(lab)["groups"]] == ["web", "static"]
    assert configuration(lab)["on_trial"] is False


def test_a_trial_that_nobody_confirms_is_undone_and_not_run_again(lab: Lab) -> None:
    edit(lab, without_static)
    assert "edgenode confirm" in apply(lab, "--confirm", "10s")
    lab.wait_withdrawn(EDGE, STATIC, timeout=4)
    assert configuration(lab)["on_trial"] is True
    assert "is on trial" in lab.edgenode(EDGE, "status").stdout
    assert "is on trial" in refused(lab, "apply")
    lab.wait_announced(EDGE, STATIC, timeout=30)
    assert "nobody confirmed it within 10 s" in configuration(lab)["problem"]
    assert "undone" in refused(lab, "confirm")
    lab.kill(EDGE, "control", signal.SIGKILL)
    lab.start(EDGE, "control")
    for group in (WEB, STATIC):
        lab.wait_announced(EDGE, group)
    assert "undone" in lab.edgenode(EDGE, "status").stdout
    log = (lab.directory(EDGE) / "control.log").read_text()
    assert "confirmed last runs instead" in log


def test_a_trial_that_is_confirmed_stays(lab: Lab) -> None:
    edit(lab, without_static)
    apply(lab, "--confirm", "6s")
    assert lab.edgenode(EDGE, "confirm").returncode == 0
    lab.wait_withdrawn(EDGE, STATIC, timeout=5)
    stays(lab, STATIC, False, 7)
    lab.kill(EDGE, "control", signal.SIGKILL)
    lab.start(EDGE, "control")
    lab.wait_announced(EDGE, WEB)
    stays(lab, STATIC, False, 1)
    assert configuration(lab)["problem"] == ""


def test_an_operator_undoes_a_trial_at_once(lab: Lab) -> None:
    edit(lab, without_static)
    apply(lab, "--confirm", "1h")
    lab.wait_withdrawn(EDGE, STATIC, timeout=5)
    assert lab.edgenode(EDGE, "undo").returncode == 0
    lab.wait_announced(EDGE, STATIC, timeout=10)


def test_a_proxy_that_dies_in_a_trial_stays_withdrawn_through_the_undo(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(lab, replace('hold_time = "9s"', 'hold_time = "9s"\ndrain_prepend = 5'))
    with wire(lab, tmp_path) as seen:
        apply(lab, "--confirm", "6s")
        died = lab.kill(EDGE, "nginx")
        lab.wait_withdrawn(EDGE, STATIC, timeout=5)
        wait_until(lambda: "undone" in configuration(lab)["problem"], 25, "it was undone")
        undone = time.time()
        time.sleep(3)
    told = [u for u in seen if u.time > died and set(map(str, STATIC.prefixes)) & {*u.announced}]
    assert told == [], "announced by the undo"
    first = min(u.time for u in seen if str(STATIC.prefixes[0]) in u.withdrawn)
    assert first < undone
    with capsys.disabled():
        print(f"\nproxy dies in a trial: withdrawn after {(first - died) * 1000:.1f} ms, ", end="")
        print("and announced by the undo: never")


def test_what_an_operator_withdrew_in_a_trial_stays_so(lab: Lab) -> None:
    edit(lab, replace("drain_time = 1.0", "drain_time = 3.0"))
    apply(lab, "--confirm", "6s")
    assert lab.edgenode(EDGE, "withdraw", "static").returncode == 0
    wait_until(lambda: "undone" in configuration(lab)["problem"], 25, "it was undone")
    stays(lab, STATIC, False, 2)
    assert lab.edgenode(EDGE, "undrain", "static").returncode == 0


def test_a_lost_session_undoes_a_trial_before_its_time(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    asn = re.search(r'name = "transit-v4"\n.*?asn = (\d+)', file(lab).read_text(), re.DOTALL)
    assert asn
    edit(lab, lambda t: t.replace(f"asn = {asn[1]}", "asn = 64999", 1))
    start = time.monotonic()
    apply(lab, "--confirm", "10m")
    wait_until(lambda: not announced(lab, WEB), 10, "the session is lost")
    wait_until(lambda: "undone" in configuration(lab)["problem"], LOST + 10, "it was undone")
    undone = time.monotonic() - start
    assert "transit-v4" in configuration(lab)["problem"]
    for group in (WEB, STATIC):
        lab.wait_announced(EDGE, group, timeout=40)
    back = time.monotonic() - start
    with capsys.disabled():
        print(f"\na session lost in a trial: undone after {undone:.1f} s, back after {back:.1f} s")


def test_a_restart_in_the_middle_of_a_trial_ends_it(lab: Lab) -> None:
    edit(lab, without_static)
    apply(lab, "--confirm", "1h")
    lab.wait_withdrawn(EDGE, STATIC, timeout=5)
    lab.kill(EDGE, "control", signal.SIGKILL)
    lab.start(EDGE, "control")
    lab.wait_announced(EDGE, STATIC)
    assert "on trial when control ended" in configuration(lab)["problem"]


def test_what_cannot_be_applied_says_why_and_touches_nothing(lab: Lab, tmp_path: Path) -> None:
    text = file(lab).read_text()
    with wire(lab, tmp_path) as seen:
        for old, new, said in (
            ('name = "lon1"', 'name = "ams1"', "systemctl restart edgenode.target"),
            ("grace = 0.0", "grace = 1.0", "systemctl restart edgenode-lifeline edgenode-control"),
            ("[metrics]", "[metricks]", 'did you mean "metrics"'),
            ("127.0.0.1:9500", "192.0.2.1:80", "192.0.2.1:80 cannot be listened on"),
        ):
            assert old in text
            file(lab).write_text(text.replace(old, new, 1))
            assert said in refused(lab, "apply")
            assert said in refused(lab, "apply", "--confirm", "5s")
        assert "no configuration is on trial" in refused(lab, "confirm")
        assert "no configuration is on trial" in refused(lab, "undo")
        other = tmp_path / "other.toml"
        other.write_text(text + "# other\n")
        assert "another text" in refused(lab, "apply", "--config", str(other))
        os.kill(lab.main_pid(EDGE, "control"), signal.SIGHUP)
        wait_until(lambda: "not applied" in configuration(lab)["problem"], 5, "it is said")
    assert not [u for u in seen if u.withdrawn or u.announced]


def test_without_bird_nothing_is_applied(lab: Lab) -> None:
    edit(lab, replace("drain_time = 1.0", "drain_time = 4.0"))
    lab.kill(EDGE, "bird", signal.SIGKILL)
    assert "BIRD" in refused(lab, "apply")
    lab.start(EDGE, "bird")


def test_a_configuration_that_cannot_start_is_not_run_twice(lab: Lab) -> None:
    """Its address device is not there: control ends at its start, and systemd starts it again."""
    edit(lab, lambda t: t.replace('name = "static"\n', 'name = "static"\naddress_device = "no0"\n'))
    assert "no0" in refused(lab, "apply")
    lab.kill(EDGE, "control", signal.SIGKILL)
    lab.start(EDGE, "control")
    wait_until(lambda: not lab.pids(EDGE, "control"), 10, "control ends")
    lab.start(EDGE, "control")
    for group in (WEB, STATIC):
        lab.wait_announced(EDGE, group)
    assert "before it had worked with it" in configuration(lab)["problem"]


def test_a_configuration_with_which_control_was_killed_is_not_run_twice(lab: Lab) -> None:
    edit(lab, without_static)
    lab.kill(EDGE, "control", signal.SIGKILL)
    lab.start(EDGE, "control")
    wait_until(lambda: lab.edgenode(EDGE, "status").returncode == 0, 20, "control runs")
    lab.kill(EDGE, "control", signal.SIGABRT)
    wait_until(lambda: not lab.pids(EDGE, "control"), 10, "control ends")
    lab.start(EDGE, "control")
    lab.wait_announced(EDGE, STATIC)
    assert "is not in force" in lab.edgenode(EDGE, "status").stdout


def test_a_damaged_file_at_a_start_leaves_the_confirmed_configuration(lab: Lab) -> None:
    edit(lab, lambda text: text + "\n[nonsense]\n")
    lab.kill(EDGE, "control", signal.SIGKILL)
    lab.start(EDGE, "control")
    for group in (WEB, STATIC):
        lab.wait_announced(EDGE, group)
    log = (lab.directory(EDGE) / "control.log").read_text()
    assert "nonsense: unknown key" in log
