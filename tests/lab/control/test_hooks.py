"""Hooks and the dry run on a whole node: what the neighbor's wire has, and when."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenode.lab import STATIC, WEB, Lab, Layout, Settings, plan, wait_until
from edgenode.lab.delays import built_in
from edgenode.lab.nodes.edge import command_line
from edgenode.lab.wire import updates

EDGE, TRANSIT, REGION, USER = "lon1", "lon", "fra", "par"
LAYOUT = Layout(
    transits=(TRANSIT,), neighbors=(), edges=(TRANSIT,), regions=(REGION,), users=(USER,)
)

HOOKS = """
[[hooks]]
name = "page"
command = ["/bin/sh", "-c", "echo $EDGENODE_KIND $EDGENODE_NAME $EDGENODE_STATE >> {log}"]
[[hooks]]
name = "hangs"
command = ["/bin/sh", "-c", "sleep 60"]
timeout = "5s"
"""

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def lab() -> Iterator[Lab]:
    settings = Settings(grace=4.0, heartbeat_timeout=30.0, drain_time=1.0)
    with Lab("thooks", plan(built_in(), LAYOUT), settings) as lab:
        lab.up()
        yield lab


def test_hooks_are_told_and_hold_up_no_withdraw_and_a_dry_run_moves_nothing(
    lab: Lab, tmp_path: Path
) -> None:
    config, log = lab.directory(EDGE) / "edgenode.toml", tmp_path / "log"
    config.write_text(config.read_text() + HOOKS.format(log=log))
    lab.kill(EDGE, "control", signal.SIGKILL)
    lab.start(EDGE, "control")
    wait_until(lambda: lab.edgenode(EDGE, "status").returncode == 0, 20, "control is back")
    lab.wait_announced(EDGE, STATIC)

    with lab.captures([TRANSIT], tmp_path, "tcp port 179") as files:
        with lab.inside(EDGE), (tmp_path / "dry").open("w") as said:
            dry = subprocess.Popen(
                command_line(config, "control", "--dry-run"), stderr=said, start_new_session=True
            )
        try:
            wait_until(
                lambda: "group static: normal" in (tmp_path / "dry").read_text(), 30, "it decides"
            )
            time.sleep(2)
            assert dry.poll() is None
        finally:
            dry.kill()
            dry.wait()
        time.sleep(5)
    moved = [update for update in updates(files[TRANSIT]) if update.withdrawn or update.announced]
    assert moved == [], "neither at its work nor at its end"

    (tmp_path / "more").mkdir()
    with lab.captures([TRANSIT], tmp_path / "more", "tcp port 179") as files:
        killed = lab.kill(EDGE, "nginx", signal.SIGKILL)
        lab.wait_withdrawn(EDGE, STATIC, timeout=5)
        time.sleep(0.3)
    first = min(update.time for update in updates(files[TRANSIT]) if update.withdrawn)
    assert first - killed < 0.25, "one hook hangs, and the other is being run"
    wait_until(
        lambda: "group static withdrawn" in (log.read_text() if log.exists() else ""),
        10,
        "the hook is told of the group",
    )
    told = log.read_text().splitlines()
    assert {"check nginx-v4 down", "check nginx-v6 down", "group static withdrawn"} <= set(told)
    lab.start(EDGE, "nginx")
    lab.wait_announced(EDGE, STATIC)
    assert lab.get(USER, STATIC.addresses[0]).ok
    wait_until(lambda: "group static normal" in log.read_text(), 10, "and of its return")
    assert lab.get(USER, WEB.addresses[0]).ok
