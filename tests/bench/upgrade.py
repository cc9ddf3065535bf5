"""Upgrades in place under load: `./run bench upgrade`.

A new `edgenode steering` takes over from the one that runs, ten times, at 500 and at 5,000
connections: 200 transfers whose digests are checked, 100 new connections a second, 50 readers that
stall, the rest idle. Nothing may be lost, and each connection is logged once. The stall is the
longest time that a session which asks all the time waited for an answer, while it was replaced;
beside it the longest wait in as long a time without an upgrade, which is what the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from edgenode.lab import LabError, wait_until
from edgenode.steering import FORM
from edgenode.steering.table import Bind, RegionTargets, Service, Table, Target
from tests.bench import alone, carried
from tests.bench.carried import HOST, PORT, WORKER, Process
from tests.unit.steering.process import Steering

GOALS = {500: 25.0, 5000: 50.0}
"""Milliseconds of the longest stall, at so many connections."""

TRANSFERS, STALLED, RATE, SESSIONS = 200, 50, 100.0, 8
_PATIENCE = 60.0
_SETTLE = 1.0  # seconds between two upgrades


def table() -> Table:
    regions = (RegionTargets("fra", (Target("fra-1", HOST, WORKER),)),)
    return Table(
        1, "lon1", Bind(), (Service("web", (f"{HOST}:{PORT}",), "v2", 5.0, 3600.0, regions),)
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench upgrade", description=__doc__)
    parser.add_argument("--upgrades", type=int, default=10, help="of each size (default: 10)")
    parser.add_argument("--relays", type=int, default=2, help="relay workers (default: 2)")
    parser.add_argument("--connections", type=int, nargs="*", default=list(GOALS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root: it makes namespaces")
    if options.upgrades < 1 or options.relays < 1:
        parser.error("--upgrades and --relays are above 0")
    if min(options.connections, default=0) < TRANSFERS + STALLED + SESSIONS:
        parser.error(f"--connections are more than {TRANSFERS + STALLED + SESSIONS}")
    place = alone.scratch()
    if place is None:
        arguments = [argument for argument in sys.argv[1:] if argument]
        if options.json:
            arguments += ["--json", str(options.json.absolute())]
        return alone.run("tests.bench.upgrade", arguments)
    alone.settle(place)
    console = Console(highlight=False)
    document: dict[str, Any] = {"form": FORM, "sizes": {}}
    good = True
    for size in options.connections:
        found = measure(place / str(size), size, options.upgrades, options.relays, console)
        document["sizes"][str(size)] = found
        good = show(console, size, found) and good
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0 if good else 1


def measure(place: Path, size: int, upgrades: int, relays: int, console: Console) -> dict[str, Any]:
    """Stalls in milliseconds. Raises LabError if anything was lost."""
    place.mkdir()
    steering = Steering(place, relays)
    steering.start()
    with steering.control() as control:
        control.publish(table())
    far = Process(carried.work)
    idle = size - TRANSFERS - STALLED - SESSIONS
    users = Process(carried.use, idle, TRANSFERS, STALLED, RATE)
    looking = Process(carried.look, SESSIONS)
    try:
        if users.hear() != "ready":
            raise LabError("the users did not come")
        stalls, quiet, taken, frozen = [], [], [], []
        for number in range(upgrades):
            longest(looking)
            time.sleep(_SETTLE)
            quiet.append(longest(looking))
            began = time.monotonic()
            old, new = steering.process, steering.start()
            if old.wait(_PATIENCE) != 0 or new.poll() is not None:
                raise LabError(f"the new version did not take over: {said(old)} {said(new)}")
            time.sleep(0.2)
            stalls.append(longest(looking))
            frozen.append(waited(new))
            taken.append(time.monotonic() - began - 0.2)
            console.print(
                f"{size} connections, upgrade {number + 1}: {stalls[-1]:.1f} ms"
                f" (nobody served for {frozen[-1]:.0f} ms; without one {quiet[-1]:.1f} ms)"
            )
        looking.tell("end")
        looking.join()
        users.tell("stop")
        counts = users.hear(_PATIENCE * 5)
        if counts["lost"]:
            raise LabError(f"{len(counts['lost'])} were lost, first {counts['lost'][0]}")
        logged(steering, counts["connections"] + SESSIONS)
        if steering.terminate() != 0:
            raise LabError("steering did not end well")
    finally:
        steering.close()
        far.end()
    return {
        "stall_ms": summary(stalls),
        "without_ms": summary(quiet),
        "frozen_ms": summary(frozen),
        "upgrade_s": summary(taken),
        "connections": counts["connections"] + SESSIONS,
        "bodies": counts["bodies"],
        "lost": 0,
    }


def longest(looking: Process) -> float:
    """Milliseconds. Raises LabError."""
    looking.tell("tell")
    answer = looking.hear()
    if not isinstance(answer, float):
        raise LabError(str(answer))
    return answer * 1000


def waited(new: Any) -> float:
    """How long nobody served, in milliseconds, as the new version says it."""
    for line in new.stderr:
        if found := re.search(r"they waited for (\d+) ms", line):
            return float(found[1])
    raise LabError("the new version has not said how long users waited")


def logged(steering: Steering, connections: int) -> None:
    """Each has one line. Raises LabError."""

    def lines() -> int:
        return len(steering.log.read_bytes().splitlines())

    wait_until(lambda: lines() >= connections, _PATIENCE, f"{connections} lines in the log")
    if lines() != connections:
        raise LabError(f"{connections} connections have {lines()} lines in the log")


def said(process: Any) -> str:
    process.kill()
    return str(process.communicate()[1])


def summary(values: list[float]) -> dict[str, float]:
    figures = {"median": statistics.median(values), "max": max(values)}
    return {name: round(value, 2) for name, value in figures.items()}


def show(console: Console, size: int, found: dict[str, Any]) -> bool:
    """For humans; whether the goal is reached."""
    goal = GOALS.get(size, max(GOALS.values()))
    stall, quiet = found["stall_ms"], found["without_ms"]
    reached = bool(stall["max"] < goal)
    console.print(
        f"{'[green]✓[/]' if reached else '[red]✗[/]'} {size} connections: nothing lost of"
        f" {found['connections']} connections and {found['bodies']} transfers; the longest stall"
        f" {stall['max']:.1f} ms, median {stall['median']:.1f} ms, less than {goal:g} ms"
        f" (nobody served for {found['frozen_ms']['max']:.0f} ms, median"
        f" {found['frozen_ms']['median']:.0f} ms; without an upgrade {quiet['max']:.1f} ms,"
        f" median {quiet['median']:.1f} ms)"
    )
    return reached


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LabError, TimeoutError, EOFError) as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
