"""`edgenode top`: rates out of two reports, and a steering that is asked with control dead."""

from __future__ import annotations

import itertools
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenode.cli.columns import columns
from edgenode.cli.top import lines
from edgenode.cli.topview import EVERY, frame, pairs
from edgenode.release import RELEASE
from edgenode.steering.figures import RegionFigures, RelayFigures, ServiceFigures, Times
from edgenode.steering.report import (
    EjectionReport,
    RegionReport,
    RelayReport,
    Report,
    ServiceReport,
    TargetReport,
)
from tests.unit.cli.test_command import edgenode
from tests.unit.steering.process import Address, Steering, ask, table
from tests.unit.steering.running import PATIENCE, Worker, echo


def report(at: float, times: int) -> Report:
    """Counters that have grown so many times."""
    connect = Times(1, {"0.01": 98 * times, "0.05": 2 * times})
    region = RegionFigures(10_000 * times, 80_000 * times, {"refused": times}, connect)
    figures = ServiceFigures(
        endings={"closed": 90 * times, "no-target": 4 * times, "local-probe": 7 * times},
        rtt=Times(1, {"0.02": 3 * times}),
        segments=1000 * times,
        retransmits=25 * times,
        regions={"fra": region},
    )
    regions = {"fra": RegionReport(96 * times, 2 * times, 5), "iad": RegionReport()}
    return Report(
        at,
        services={"web": ServiceReport(5, 100 * times, 4 * times, 7, 10_000, 80_000, regions)},
        targets={"fra/fra-1": TargetReport(2 * times, 5), "fra/fra-2": TargetReport()},
        relays=(RelayReport(71, True, 1.0), RelayReport(72, False, 1.0)),
        figures={"web": figures},
        relay_figures=(RelayFigures(71, 5, 0.5 * times, 0.25, 3.0), RelayFigures(72)),
    )


LOOK = frame(report(100.0, 1), report(102.0, 2))


def test_what_grew_is_per_second() -> None:
    every, fra, iad = LOOK.traffic
    assert (every.region, fra.region, iad.region) == (EVERY, "fra", "iad")
    assert (every.live, every.new_s, every.failed_s) == (5, 50.0, 2.0)
    assert (every.rtt_p50_ms, every.retransmits) == (15.0, 0.025)
    assert (fra.new_s, fra.failed_s, fra.up_s, fra.down_s) == (48.0, 1.0, 5000.0, 40_000.0)
    assert fra.connect_p50_ms is not None
    assert fra.connect_p99_ms is not None
    assert 5.0 < fra.connect_p50_ms <= 10.0 < 35.0 < fra.connect_p99_ms <= 50.0
    assert (iad.connect_p50_ms, iad.live) == (None, 0)
    assert LOOK.endings == {"web": {"closed": 45.0, "local-probe": 3.5, "no-target": 2.0}}


def test_relay_workers_and_workers() -> None:
    first, second = LOOK.relays
    assert (first.pid, first.live, first.cpu, first.lag_ms) == (71, 5, 0.25, 3.0)
    assert not second.healthy
    (worker,) = LOOK.workers
    assert (worker.region, worker.name, worker.live, worker.failed_s) == ("fra", "fra-1", 5, 1.0)
    assert LOOK.notes == ("1 of 2 relay workers do not answer",)


def test_a_steering_that_was_restarted_has_no_negative_rates() -> None:
    look = frame(report(100.0, 9), report(102.0, 1))
    for row in look.traffic:
        assert (row.new_s, row.failed_s, row.up_s, row.rtt_p50_ms) == (0.0, 0.0, 0.0, None)
        assert row.retransmits is None


def test_an_older_steering_tells_less_and_is_shown() -> None:
    plain = dict(report(102.0, 2).to_json().items())
    del plain["figures"], plain["relay_figures"]
    look = frame(report(100.0, 1), Report.from_json(plain))
    assert (look.traffic[0].new_s, look.relays[0].live) == (50.0, 0)


def test_whom_the_relays_leave_alone_is_told_in_one_line_a_region() -> None:
    left = tuple(
        EjectionReport("web", "fra", worker, "refused", 130.0, 1) for worker in ("a", "b", None)
    )
    old = report(100.0, 1)
    look = frame(old, Report(102.0, ejections=left))
    assert look.notes == (
        "web: region fra comes last (refused)",
        "web: workers of fra are left alone (refused): 2",
    )


def test_looks_cover_the_interval_and_share_their_ends() -> None:
    reports = [Report(100.0 + second * 1.01) for second in range(9)]
    found = [(before.at, after.at) for before, after in pairs(reports, 2.0)]
    assert len(found) == 4
    assert all(after - before == pytest.approx(2.02) for before, after in found)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(found))


def test_no_look_is_shorter_than_was_asked_for() -> None:
    """The first report is the present one, made at once, wherever in its second that falls."""
    reports = [Report(at) for at in (100.5, 101.0, 102.0, 103.0)]
    assert [after.at - before.at for before, after in pairs(reports, 1.0)] == [1.5, 1.0]


@pytest.mark.parametrize("width", [None, 60, 100])
def test_it_fits(width: int | None) -> None:
    found = [line.plain for line in lines(LOOK, 10, width)]
    assert any(line.startswith("web") and " fra " in line for line in found)
    assert width is None or all(len(line) <= width for line in found)


# --- a real one


@pytest.fixture
def steering(tmp_path: Path) -> Iterator[Steering]:
    made = Steering(tmp_path)
    made.start()
    yield made
    made.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Damaged, and there is no control that could be asked instead."""
    path = tmp_path / "edgenode.toml"
    path.write_text(f'[node]\nrun_dir = "{tmp_path}/run"\nnonsense = 1\n')
    return path


def test_it_asks_steering_itself(steering: Steering, config: Path) -> None:
    address, worker = Address(), Worker(echo)
    with steering.control() as control:
        control.publish(table(1, address, targets=(worker.target("fra-1"),)))
        with address.connect() as user:
            user.sendall(b"x")
            assert user.recv(1) == b"x"
            command = [sys.executable, "-m", "edgenode.cli", "top", "--json", "--interval", "1"]
            process = subprocess.Popen(
                [*command, "--config", str(config)], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            try:
                looks = [json.loads(process.stdout.readline())]
                for _ in range(5):
                    assert ask(address, b"12345") == b"12345"
                deadline = time.monotonic() + PATIENCE
                while not any(look["traffic"][0]["new_s"] for look in looks):
                    assert time.monotonic() < deadline
                    looks.append(json.loads(process.stdout.readline()))
                look = looks[-1]
                assert look["traffic"][0]["service"] == "web"
                assert look["traffic"][0]["live"] == 1
                assert look["traffic"][1]["region"] == "fra"
                assert [one["name"] for one in look["workers"]] == ["fra-1"]
                assert look["relays"][0]["pid"] in steering.relays()
                process.send_signal(signal.SIGINT)
                assert process.wait(PATIENCE) == 0, "Ctrl-C is how it ends"
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
    shown = edgenode("top", "--once", "--interval", "1", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert "SERVICE  REGION" in shown.stdout
    assert f"steering is {RELEASE}\n" in shown.stdout
    address.close()
    worker.close()


def test_a_terminal_that_cannot_be_drawn_on_shows_it_all_the_same(
    steering: Steering, config: Path
) -> None:
    steering.relays()
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "edgenode.cli", "top", "--interval", "1"]
    process = subprocess.Popen(
        [*command, "--config", str(config)], stdout=its, env={**os.environ, "TERM": "dumb"}
    )
    os.close(its)
    try:
        shown = b""
        deadline = time.monotonic() + PATIENCE
        while b"RELAY" not in shown and select.select([ours], [], [], PATIENCE)[0]:
            assert time.monotonic() < deadline
            shown += os.read(ours, 4096)
        assert b"RELAY" in shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_steering_that_is_not_there(config: Path) -> None:
    shown = edgenode("top", "--once", "--json", "--config", str(config))
    assert shown.returncode == 1
    (line,) = shown.stdout.splitlines()
    assert "is it running?" in json.loads(line)["error"]


def test_a_mistyped_configuration_is_not_passed_over(config: Path) -> None:
    shown = edgenode("top", "--once", "--config", f"{config}.old")
    assert shown.returncode == 2
    assert f"{config}.old cannot be read" in shown.stderr


def test_a_damaged_one_is_told_of(config: Path) -> None:
    config.write_text(config.read_text() + "x =\n")
    shown = edgenode("top", "--once", "--config", str(config))
    assert shown.returncode == 1
    assert "is no TOML" in shown.stderr
    assert str(config.parent / "run") in shown.stderr, "what can be read of it holds"


def test_a_pipe_with_columns_is_as_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert columns() is None
    monkeypatch.setenv("COLUMNS", "90")
    assert columns() is not None
