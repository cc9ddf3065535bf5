"""The first choice is blackholed: `./run bench failover`.

How long a new connection takes to be served that comes within the first second after the tunnel to
the nearest region has begun to drop all packets silently: from the user's SYN to the whole answer.
An edge (BIRD, control, steering, wireguard-go), two regions of two workers, and a user, each in a
network namespace of the lab, with the delays between their cities. edgenode and HAProxy stand on
the same edge and go through the same tunnels to the same workers; both are cut off at once, and
each has a user of its own who opens connections at fixed times, whether earlier ones were answered
or not. Nobody is told anything: relays, control and HAProxy have to find out.

HAProxy is set as fast as is sane:

- `timeout connect` 1.1 s. Its manual advises timeouts slightly above the time after which a lost
  SYN is sent again, which is 1 s on Linux (RFC 6298). Below it each lost SYN is a failure: of the
  worker, and of the connection once `retries` are used up. `--connect-timeout` tries others.
- `balance first` and `option redispatch 1`: the nearest server is taken as long as it is up, and
  after one failed attempt the next one at once. (`backup` servers would not do: they are used only
  when all others are known to be down.)
- `inter 250ms fastinter 100ms fall 2`: four checks a second of each worker, and a second one at
  once when one fails. A check's connect has `inter` to be answered, which leaves the farther region
  its round-trip and little more.
- `observe layer4 error-limit 3 on-error mark-down`: users' connections that fail count as well.
- its default of 3 `retries` leaves nobody refused.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgenode.lab import Lab, LabError, Layout, plan, users, wait_until
from edgenode.lab.delays import Delays, built_in_text, parse
from edgenode.lab.topology import WEB, WORKER_PORT, Edge, Region
from tests.bench.deaths import EDGE, USER, Deaths
from tests.bench.speakers import PRIORITY

EDGENODE, HAPROXY = "edgenode", "haproxy"
PORTS = {EDGENODE: 80, HAPROXY: 81}
FIRST = "ams"
"""The nearest region."""
NEXT = {"near": "fra", "far": "iad"}
"""The one that takes over: as near as a neighbor, or across the ocean."""
NEARER = '"lon-ams" = 7\n"nyc-ams" = 78\n'
"""Beside the delays that the lab has, in milliseconds."""
WINDOW = 1.0
"""Seconds from the cut in which the connections come that are looked at."""
EVERY = 0.01
"""Seconds between two new connections of a user."""
TIMEOUT = 8.0
"""Seconds until a user gives up, which counts as so long."""
CONNECT_TIMEOUT = 1.1
GOAL = 10.0

_HAPROXY = """\
global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect {connect}ms
  timeout client 60s
  timeout server 60s
  retries 3
  option redispatch 1
  source {source} interface {device}
  default-server check inter 250ms fastinter 100ms downinter 250ms fall 2 rise 2 maxconn 2000
  default-server observe layer4 error-limit 3 on-error mark-down send-proxy-v2
listen web
  bind {address}:{port}
  balance first
"""

Figures = dict[str, float]


def layout(next_region: str) -> Layout:
    return Layout(
        transits=("lon", "nyc"),
        neighbors=(("lon", "nyc"),),
        edges=("lon",),
        regions=(FIRST, next_region),
        workers=2,
        users=(USER,),
    )


def delays() -> Delays:
    return parse(f"{built_in_text()}\n{NEARER}", "bench failover")


class Failover:
    """The lab, up, with HAProxy beside edgenode."""

    def __init__(self, lab: Lab, next_region: str, connect_timeout: float) -> None:
        self.lab = lab
        self.next = next_region
        self.address = WEB.addresses[0]
        directory = lab.directory(EDGE)
        config = directory / "haproxy.cfg"
        config.write_text(self._haproxy(directory, connect_timeout), encoding="utf-8")
        lab.spawn(EDGE, HAPROXY, ("haproxy", "-db", "-f", str(config)))

    def _haproxy(self, directory: Path, connect_timeout: float) -> str:
        """Its configuration: the workers of the nearest region first."""
        edge, device = (
            self.lab.topology.node(EDGE),
            tomllib.loads((directory / "edgenode.toml").read_text(encoding="utf-8"))["mesh"][
                "device"
            ],
        )
        assert isinstance(edge, Edge)
        text = _HAPROXY.format(
            connect=round(connect_timeout * 1000),
            source=edge.mesh[0],
            device=device,
            address=self.address,
            port=PORTS[HAPROXY],
        )
        for name in (FIRST, self.next):
            region = self.lab.topology.node(name)
            assert isinstance(region, Region)
            for worker in region.workers:
                text += f"  server {worker.name} {worker.addresses[0]}:{WORKER_PORT}\n"
        return text

    def served_by(self, proxy: str) -> str:
        """The region that serves a new connection; empty: none does."""
        answer = self.lab.get(USER, self.address, PORTS[proxy], timeout=TIMEOUT)
        return str((answer.body or {}).get("region", ""))

    def settled(self) -> bool:
        """Whether both are back at the nearest region, with all of its workers."""
        return all(self.served_by(name) == FIRST for name in PORTS for _ in range(3))

    def load(self, proxy: str) -> users.Load:
        """A user's connections, until `stop`."""
        output = self.lab.directory(USER) / f"{proxy}.jsonl"
        target = users.endpoint(self.address, PORTS[proxy])
        options = ["--every", str(EVERY)]
        space = self.lab.namespace(USER)
        command = users.load_command("requests", target, output, space, TIMEOUT, options)
        return users.Load(command, output, TIMEOUT)

    def trial(self) -> tuple[float, float]:
        """Cut and heal; when it was cut (UNIX time), and how long it took both to come back."""
        time.sleep(random.random())
        moment = self.lab.cut_region(EDGE, FIRST)
        time.sleep(WINDOW + 2.0)
        self.lab.heal_region(EDGE, FIRST)
        healed = time.time()
        wait_until(self.settled, 60, f"both are back at {FIRST}", every=0.3)
        # What was learned of the dead region is forgotten, and connect times are usual again.
        time.sleep(2.0)
        return moment, time.time() - healed


def percentile(values: list[float], share: float) -> float:
    """The nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def figures(requests: Iterable[users.Request], cuts: Iterable[float]) -> Figures:
    """Milliseconds of the connections that came in a window after a cut."""
    moments = list(cuts)
    taken: list[float] = []
    failed = 0
    for request in requests:
        if any(cut <= request.started < cut + WINDOW for cut in moments):
            failed += not request.ok
            taken.append((request.finished - request.started if request.ok else TIMEOUT) * 1000)
    return {
        "p50": round(percentile(taken, 0.5), 1),
        "p99": round(percentile(taken, 0.99), 1),
        "max": round(max(taken), 1),
        "connections": len(taken),
        "failed": failed,
    }


def measure(
    next_region: str, runs: int, connect_timeout: float, note: Callable[[str], None]
) -> dict[str, Any]:
    """Both beside each other. Raises LabError."""
    with Lab("fail", plan(delays(), layout(next_region))) as lab:
        lab.up(note)
        failover = Failover(lab, next_region, connect_timeout)
        deaths = Deaths(lab, FIRST)
        wait_until(lambda: deaths.in_tables(2), 20, "all workers are in the tables")
        wait_until(failover.settled, 20, f"{FIRST} serves")
        loads = {name: failover.load(name) for name in PORTS}
        time.sleep(2.0)
        cuts = []
        for number in range(runs):
            moment, back = failover.trial()
            cuts.append(moment)
            note(f"cut {number + 1}/{runs}: both were back {back:.1f} s after its end")
        found: dict[str, Any] = {}
        for name, load in loads.items():
            load.stop()
            found[name] = figures(load.requests(), cuts)
        report = deaths.status()["steering"]["report"]
    if failed := found[EDGENODE]["failed"]:
        raise LabError(f"{failed:.0f} connections through edgenode failed: the figures are void")
    ratios = {
        key: round(found[HAPROXY][key] / found[EDGENODE][key], 2) for key in ("p50", "p99", "max")
    }
    dialing = report["figures"]["web"]["dialing"]
    return {**found, "ratios": ratios, "next_region": next_region, "dialing": dialing}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./run bench failover",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=10, help="cuts in each case (default: 10)")
    parser.add_argument("--only", choices=[*NEXT], help="where the next region is")
    parser.add_argument(
        "--connect-timeout",
        type=float,
        default=CONNECT_TIMEOUT,
        metavar="SECONDS",
        help=f"HAProxy's (default: {CONNECT_TIMEOUT:g})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root: it makes network namespaces")
    if options.runs < 1 or options.connect_timeout <= 0:
        parser.error("--runs and --connect-timeout are above 0")
    os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    console = Console(highlight=False)
    cases = {
        name: measure(region, options.runs, options.connect_timeout, console.print)
        for name, region in NEXT.items()
        if options.only in (None, name)
    }
    document = {
        **next(iter(cases.values())),
        "cases": cases,
        "window_s": WINDOW,
        "connect_timeout_s": options.connect_timeout,
        "haproxy_version": _version(),
    }
    show(console, document)
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def _version() -> str:
    done = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True)
    return done.stdout.split()[2]


def show(console: Console, document: dict[str, Any]) -> None:
    """For humans."""
    table = Table(box=None)
    for column in ("next region", "", "p50, ms", "p99, ms", "max, ms", "connections"):
        table.add_column(column, justify="right" if "," in column else "left")
    for case, found in document["cases"].items():
        for name in PORTS:
            row = [f"{found[name][key]:.1f}" for key in ("p50", "p99", "max")]
            count = f"{found[name]['connections']:.0f}"
            table.add_row(f"{case} ({found['next_region']})", name, *row, count)
    console.print(table)
    for case, found in document["cases"].items():
        ratio = found["ratios"]["p99"]
        mark = "[green]✓[/] " if ratio >= GOAL else "[red]✗[/] "
        if case != "near":
            mark = "  "
        console.print(
            f"{mark}next region {case}: served {ratio:.1f} times sooner than by HAProxy at p99"
            f" (p50: {found['ratios']['p50']:.1f})" + (f", goal {GOAL:g}" if case == "near" else "")
        )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
