"""What the demo does not show: control stopped rather than killed, other delays, Ctrl-C."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from edgenode.lab import Lab, Settings, wait_until
from edgenode.lab.cleanup import leftovers
from edgenode.lab.delays import built_in_text
from edgenode.lab.scenes import control_killed
from edgenode.lab.scenes.narration import Narrator
from edgenode.lab.scenes.outcome import Outcome
from edgenode.lab.scenes.stage import Stage

LAB = "tvar"

pytestmark = pytest.mark.timeout(200)

COMMAND = [sys.executable, "-m", "edgenode.cli", "lab"]


def test_a_stopped_control_is_found_by_its_heartbeat(tmp_path: Path) -> None:
    """SIGSTOP: the socket stays open, only the beats end."""
    told = io.StringIO()
    outcome = Outcome()
    with Lab(LAB, settings=Settings(heartbeat_timeout=1.0)) as lab:
        lab.up()
        stage = Stage(lab, Narrator(Console(file=told)), tmp_path)
        with stage.capturing():
            control_killed.play(stage, outcome, signal.SIGSTOP)
    assert outcome.passed, told.getvalue()
    assert outcome.figures["connections_lost"] == 0
    # Beats come five times in a timeout: the last one was at most a fifth of it ago.
    assert 700 < outcome.figures["withdraw_ms"] < 3000


def test_two_cities_swapped_swap_who_is_nearest(tmp_path: Path) -> None:
    names = {"lon": "nyc", "nyc": "lon", "fra": "iad", "iad": "fra"}
    lines = []
    for line in built_in_text().splitlines():
        if line.startswith('"'):
            pair, _, rtt = line.partition(" = ")
            cities = [names.get(city, city) for city in pair.strip('"').split("-")]
            line = f'"{"-".join(cities)}" = {rtt}'
        lines.append(line)
    table = tmp_path / "delays.toml"
    table.write_text("\n".join(lines))
    figures = tmp_path / "figures.json"
    run = subprocess.run(
        [
            *(*COMMAND, "run", "nearest", "--name", LAB),
            *("--delays", str(table), "--json", str(figures)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    users = json.loads(figures.read_text())["scenes"]["nearest"]["users"]
    assert (users["par-ipv4"]["edge"], users["par-ipv4"]["region"]) == ("nyc1", "iad")
    assert (users["bos-ipv6"]["edge"], users["bos-ipv6"]["region"]) == ("lon1", "fra")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_it_is_ended_everything_goes(end: signal.Signals) -> None:
    run = subprocess.Popen(
        [*COMMAND, "run", "demo", "--name", LAB],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.stdout is not None
    for line in run.stdout:
        if "announcements" in line:
            break
    assert leftovers(LAB)
    run.send_signal(end)
    run.communicate(timeout=60)
    wait_until(lambda: not leftovers(LAB), 30, "everything of the lab is gone")
    assert run.returncode != 0


def test_a_left_over_lab_is_cleaned_and_a_living_one_is_refused() -> None:
    assert subprocess.run([*COMMAND, "up", "--name", LAB], timeout=120).returncode == 0
    listed = subprocess.run([*COMMAND, "list", "--json"], capture_output=True, text=True)
    assert LAB in json.loads(listed.stdout)["labs"]
    with Lab(LAB) as lab:
        lab.up(edges=False)
        refused = subprocess.run([*COMMAND, "down", "--name", LAB], capture_output=True, text=True)
        assert refused.returncode == 1
        assert "edgenode: " in refused.stderr
    assert not leftovers(LAB)


@pytest.mark.parametrize(
    ("text", "said"), [("[rtt]\n", "lon"), ("nonsense", "TOML"), ('[rtt]\n"lon" = 3\n', "lon")]
)
def test_a_bad_table_of_delays_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "delays.toml"
    table.write_text(text)
    run = subprocess.run(
        [*COMMAND, "run", "nearest", "--name", LAB, "--delays", str(table)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert said in run.stderr
    assert str(table) in run.stderr
    assert run.stderr.count("\n") == 1
