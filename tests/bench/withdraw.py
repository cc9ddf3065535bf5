"""From a death to the withdraw on the upstream's wire: `./run bench withdraw`.

Three ways in turns, in one lab and one run, so that the noise of the machine hits all alike:
the floor (a `disable` written to BIRD's open control socket), SIGKILL of all processes of a local
proxy, SIGKILL of `edgenode control` with grace 0. Every figure is read off a capture at the
upstream.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edgenode.lab import STATIC, WEB, Group, Lab, LabError, Layout, plan, wait_until
from edgenode.lab.delays import built_in
from edgenode.lab.wire import updates

EDGE, TRANSIT = "lon1", "lon"
LAYOUT = Layout(
    transits=(TRANSIT,), neighbors=(), edges=(TRANSIT,), regions=("fra",), users=("par",)
)

Act = Callable[[Lab], float]
"""Does it, and returns the UNIX time of just before."""


def disable(lab: Lab) -> float:
    """The floor: nothing but BIRD between the command and the wire."""
    with socket.socket(socket.AF_UNIX) as bird:
        bird.settimeout(5)
        bird.connect(str(lab.directory(EDGE) / "bird.ctl"))
        bird.recv(4096)  # the greeting
        moment = time.time()
        bird.sendall(b"disable static_v4_normal\n")
        bird.recv(4096)
    return moment


def enable(lab: Lab) -> None:
    lab.birdc(EDGE, "enable static_v4_normal")


def kill_proxy(lab: Lab) -> float:
    return lab.kill(EDGE, "nginx", signal.SIGKILL)


def kill_control(lab: Lab) -> float:
    return lab.kill(EDGE, "control", signal.SIGKILL, main_only=True)


CASES: dict[str, tuple[Act, Callable[[Lab], object], Group]] = {
    "floor: disable on BIRD's socket": (disable, enable, STATIC),
    "local proxy killed": (kill_proxy, lambda lab: lab.start(EDGE, "nginx"), STATIC),
    "control killed, grace 0": (kill_control, lambda lab: lab.start(EDGE, "control"), WEB),
}


def once(lab: Lab, act: Act, back: Callable[[Lab], object], group: Group, pcap: Path) -> float:
    """One death and its return; milliseconds to the withdraw of the IPv4 prefix."""
    own = lab.topology.uplink(EDGE).end(EDGE).ipv4.ip
    prefix = str(group.prefixes[0])
    moment = act(lab)

    def withdrawn() -> float:
        return next(
            (
                update.time
                for update in updates(pcap)
                if update.time >= moment and update.source == own and prefix in update.withdrawn
            ),
            0.0,
        )

    at = wait_until(withdrawn, 10, f"{TRANSIT} sees {prefix} withdrawn")
    back(lab)
    for each in (WEB, STATIC):
        lab.wait_announced(EDGE, each)
    time.sleep(0.2)  # let the machine come to rest
    return (at - moment) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench withdraw", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="runs of each (default: 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--captures", type=Path, metavar="DIR", help="keep the capture there")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root: it makes network namespaces")
    console = Console(highlight=False)
    figures: dict[str, list[float]] = {name: [] for name in CASES}
    try:
        with (
            tempfile.TemporaryDirectory(prefix="edgenode-bench-") as scratch,
            Lab("bench", plan(built_in(), LAYOUT)) as lab,
            Progress(console=console, transient=True) as progress,
        ):
            lab.up(progress.console.print)
            directory = options.captures or Path(scratch)
            directory.mkdir(parents=True, exist_ok=True)
            task = progress.add_task("withdraw", total=options.runs * len(CASES))
            for run in range(options.runs):
                for case, (name, (act, back, group)) in enumerate(CASES.items()):
                    # A capture of its own for each: reading it stays quick.
                    place = directory / f"{run + 1:02}-{case}"
                    with lab.captures([TRANSIT], place, "tcp port 179") as files:
                        figures[name].append(once(lab, act, back, group, files[TRANSIT]))
                    progress.advance(task)
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    report = {name: summary(values) for name, values in figures.items()}
    console.print(table(report))
    if options.json:
        document = {"to_withdraw_ms": report, "runs": options.runs, "all_ms": figures}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def summary(values: list[float]) -> dict[str, float]:
    return {
        "min": round(min(values), 3),
        "median": round(statistics.median(values), 3),
        "max": round(max(values), 3),
    }


def table(report: dict[str, dict[str, float]]) -> Table:
    result = Table(title="to the WITHDRAW on the upstream's wire, milliseconds", box=None)
    for column in ("", "min", "median", "max", "median / floor"):
        result.add_column(column, justify="left" if not column else "right")
    floor = next(iter(report.values()))["median"]
    for name, figures in report.items():
        ratio = figures["median"] / floor
        result.add_row(name, *(f"{value:.2f}" for value in figures.values()), f"{ratio:.1f}")
    return result


if __name__ == "__main__":
    sys.exit(main())
