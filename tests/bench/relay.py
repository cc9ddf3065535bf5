"""The relay beside HAProxy and nginx stream: `./run bench relay`.

Each proxy in turn has the same load, in front of the same worker (nginx, which wants the PROXY
protocol), one thread against one relay worker, then two against two: the CPU of a new connection,
of a request on one that stands and of a body of 16 MiB (wrk); the latency at an equal load, on a
schedule that waits for no answer; the latency beside bulk flows, and beside idle connections; and
the memory of those. HAProxy has its best settings for each. A wrong answer voids the run.

Ratios are HAProxy's figure divided by ours: above 1, ours is better.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgenode.lab import LabError
from edgenode.steering import form
from tests.bench import alone, load, proxies, syscalls
from tests.bench.proxies import EDGENODE, HAPROXY, HAPROXY_BULK, NGINX, Proxy

GOALS = {"new_connections": 1.3, "keepalive": 1.0, "bulk": 1.0, "p99": 1.0, "p99_beside_bulk": 1.0}
"""Of the ratios, one thread against one relay worker."""
MEMORY_GOAL = 3.0
IDLE_GOAL = 1.2

RATE = 3000.0
"""Requests a second of the load on a schedule; one in three opens a connection."""
NEW_EVERY = 3
BULK_RATE = 1000.0
BULK_FLOWS = 4
BUSY = 100
IDLE = 8000

Figures = dict[str, float]
Measure = Callable[[Proxy], Figures]


@dataclass(frozen=True)
class Case:
    """What is measured in turns; `key` is the figure that the ratio is made of."""

    name: str
    unit: str
    key: str
    names: tuple[str, ...]
    measure: Measure


@dataclass
class Bench:
    """One number of threads: the proxies run, and what they have shown."""

    place: Path
    running: dict[str, Proxy]
    digest: str
    seconds: int
    rounds: int
    note: Callable[[str], None]
    found: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)

    def cases(self) -> list[Case]:
        peers = (EDGENODE, HAPROXY, NGINX)
        return [
            Case("new_connections", "µs CPU", "cpu", peers, self._new),
            Case("keepalive", "µs CPU", "cpu", peers, self._keepalive),
            Case("bulk", "µs CPU", "cpu", (EDGENODE, HAPROXY_BULK, NGINX), self._bulk),
            Case("p99", "µs", "p99", peers, self._scheduled),
            Case("p99_beside_bulk", "µs", "p99", (*peers, HAPROXY_BULK), self._beside_bulk),
        ]

    def run(self, only: Sequence[str]) -> None:
        """All cases, each in turns. Raises LabError."""
        for case in self.cases():
            if only and case.name not in only:
                continue
            found = self.found[case.name] = {name: [] for name in case.names}
            for number in range(self.rounds):
                turn = number % len(case.names)
                for name in case.names[turn:] + case.names[:turn]:
                    proxy = self.running[name]
                    load.verify(proxy, self.digest)
                    found[name].append(case.measure(proxy))
                    load.verify(proxy, self.digest)
                shown = ", ".join(f"{n} {v[-1][case.key]:.1f}" for n, v in found.items())
                self.note(f"{case.name} {number + 1}/{self.rounds}: {shown} {case.unit}")

    def _wrk(self, proxy: Proxy, path: str, connections: int, new: bool = False) -> Figures:
        """CPU in microseconds for one item: a request, or a large body."""
        before = proxy.cpu()
        done = load.Wrk(self.place, proxy, path, connections, self.seconds, new).finish()
        time.sleep(0.1)  # the last connections end
        spent = proxy.cpu() - before
        items = done.requests if path == "/" else done.bytes / proxies.BULK
        return {"cpu": spent / items * 1e6, "per_second": items / done.seconds}

    def _new(self, proxy: Proxy) -> Figures:
        return self._wrk(proxy, "/", 64, new=True)

    def _keepalive(self, proxy: Proxy) -> Figures:
        return self._wrk(proxy, "/", 64)

    def _bulk(self, proxy: Proxy) -> Figures:
        return self._wrk(proxy, "/bulk", BULK_FLOWS)

    def _scheduled(self, proxy: Proxy) -> Figures:
        return _flat(load.open_loop(proxy, RATE, self.seconds, 64, NEW_EVERY))

    def _beside_bulk(self, proxy: Proxy) -> Figures:
        flows = load.Wrk(self.place, proxy, "/bulk", BULK_FLOWS, self.seconds + 2)
        time.sleep(0.5)
        found = _flat(load.open_loop(proxy, BULK_RATE, self.seconds, 64))
        done = flows.finish()
        return {**found, "bulk_per_second": done.bytes / proxies.BULK / done.seconds}


def _flat(found: dict[str, Any]) -> Figures:
    """One level: `p50`, `requests_p50`, `late_p99` and so on."""
    figures = {"extra": float(found["extra"]), **found["all"]}
    for kind in ("requests", "connections", "late"):
        figures |= {f"{kind}_{name}": value for name, value in found[kind].items()}
    return figures


def medians(rounds: list[Figures]) -> Figures:
    return {key: round(statistics.median(one[key] for one in rounds), 2) for key in rounds[0]}


def compared(found: dict[str, dict[str, list[Figures]]], cases: Sequence[Case]) -> dict[str, Any]:
    """Medians of all, and the ratios: the best of HAProxy's settings against ours."""
    middle = {
        case: {name: medians(rounds) for name, rounds in ones.items()}
        for case, ones in found.items()
    }
    ratios: dict[str, float] = {}
    for case in cases:
        if case.name in middle:
            ones = middle[case.name]
            best = min(ones[name][case.key] for name in ones if name.startswith(HAPROXY))
            ratios[case.name] = round(best / ones[EDGENODE][case.key], 3)
            if case.key == "p99":
                best = min(ones[name]["p50"] for name in ones if name.startswith(HAPROXY))
                ratios[case.name.replace("p99", "p50")] = round(best / ones[EDGENODE]["p50"], 3)
    return {"ratios": ratios, "medians": middle, "rounds": found}


def idle(
    place: Path,
    names: Sequence[str],
    rounds: int,
    seconds: int,
    options: argparse.Namespace,
    note: Callable[[str], None],
) -> dict[str, Any]:
    """Memory of idle pairs, and the latency of busy ones beside them. Raises LabError."""
    found: dict[str, list[Figures]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            # A fresh one each time: memory that was used once is not given back.
            where = place / f"idle-{number}-{name}"
            with proxies.running([name], 1, where, options.interpreted) as running:
                proxy = running[name]
                without = load.open_loop(proxy, BULK_RATE, seconds, BUSY)["all"]
                before = proxy.memory()
                with load.idle_users(proxy, IDLE):
                    time.sleep(1.0)
                    each = (proxy.memory() - before) / IDLE
                    beside = load.open_loop(proxy, BULK_RATE, seconds, BUSY)["all"]
                figures = {
                    "bytes_per_pair": each,
                    "p99_without": without["p99"],
                    "p99_beside": beside["p99"],
                    "p50_without": without["p50"],
                    "p50_beside": beside["p50"],
                }
                found[name].append(figures)
                note(f"idle {number + 1}/{rounds}: {name} " + _shown(figures))
    middle = {name: medians(rounds) for name, rounds in found.items()}
    for ones in middle.values():
        ones["p99_times"] = round(ones["p99_beside"] / ones["p99_without"], 3)
    return {"pairs": IDLE, "medians": middle, "rounds": found}


def _shown(figures: Figures) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in figures.items())


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="./run bench relay", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each case (default: 5)")
    parser.add_argument("--seconds", type=int, default=4, help="of one load (default: 4)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 s, one thread alone")
    parser.add_argument("--interpreted", action="store_true", help="nothing of edgenode compiled")
    parser.add_argument("--strace", action="store_true", help="count system calls instead")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="CASE",
        help=f"of {', '.join(GOALS)}, idle; may be given again",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        parser.error("needs root: it makes namespaces of its own")
    if options.rounds < 1 or options.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    if options.quick:
        options.rounds, options.seconds = 2, 2
    place = alone.scratch()
    if place is None:
        return alone.run("tests.bench.relay", arguments)
    alone.settle(place)
    console = Console(highlight=False)
    document = measure(console, place, options)
    show(console, document)
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(console: Console, place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All figures. Raises LabError."""
    shape = form.INTERPRETED if options.interpreted else form.COMPILED
    document: dict[str, Any] = {"form": shape, "versions": proxies.versions()}
    names = (EDGENODE, HAPROXY, HAPROXY_BULK, NGINX)

    def note(text: str) -> None:
        console.print(text, soft_wrap=True)

    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    note(f"edgenode {shape}, {versions}")
    if options.strace:
        with proxies.running(names, 1, place / "strace", options.interpreted) as running:
            document["system_calls"] = {
                name: syscalls.of_a_connection(place, running[name])
                for name in (EDGENODE, HAPROXY, NGINX)
            }
        return document
    for threads in (1,) if options.quick else (1, 2):
        where = place / f"threads-{threads}"
        with proxies.running(names, threads, where, options.interpreted) as running:
            digest = hashlib.sha256((where / "www" / "bulk").read_bytes()).hexdigest()
            note(f"{threads} thread{'s' * (threads > 1)} against {threads}")
            bench = Bench(place, running, digest, options.seconds, options.rounds, note)
            bench.run(options.only)
            found = compared(bench.found, bench.cases())
            document |= found if threads == 1 else {"two_threads": found}
    if not options.only or "idle" in options.only:
        rounds = min(options.rounds, 3)
        document["idle"] = found = idle(
            place, (EDGENODE, HAPROXY), rounds, options.seconds, options, note
        )
        ours, peer = (found["medians"][name]["bytes_per_pair"] for name in (EDGENODE, HAPROXY))
        document["ratios"]["memory"] = round(peer / ours, 3)
    return document


def show(console: Console, document: dict[str, Any]) -> None:
    """For humans."""
    if "system_calls" in document:
        for name, counts in document["system_calls"].items():
            shown = ", ".join(f"{call} {count:g}" for call, count in counts.items())
            console.print(f"{name}, system calls a connection: {shown}")
        return
    for title, found in (("one", document), ("two", document.get("two_threads"))):
        if found and found["medians"]:
            console.print(_table(f"medians, {title} against {title}", found["medians"]))
    ratios: dict[str, float] = document["ratios"]
    told = [
        (ratios[name] >= goal, f"{name}: HAProxy's divided by ours {ratios[name]:.2f}, goal {goal}")
        for name, goal in GOALS.items()
        if name in ratios
    ]
    if "idle" in document:
        each = document["idle"]["medians"]
        told += [
            (
                ratios["memory"] >= MEMORY_GOAL,
                f"an idle pair takes {each[EDGENODE]['bytes_per_pair']:.0f} bytes, HAProxy's"
                f" {each[HAPROXY]['bytes_per_pair']:.0f}: {ratios['memory']:.2f} times as many,"
                f" goal {MEMORY_GOAL:g}",
            ),
            (
                each[EDGENODE]["p99_times"] <= IDLE_GOAL,
                f"p99 of {BUSY} busy ones beside them is {each[EDGENODE]['p99_times']:.2f} times"
                f" that without, at most {IDLE_GOAL:g}",
            ),
        ]
    for reached, text in told:
        console.print(("[green]✓[/] " if reached else "[red]✗[/] ") + text)


_COLUMNS = {
    "cpu": "CPU, µs",
    "p50": "p50, µs",
    "p99": "p99, µs",
    "late_p99": "sent late, p99, µs",
    "per_second": "a second",
    "bulk_per_second": "bodies a second",
}
"""What is shown of the figures; the JSON has all."""


def _table(title: str, middle: dict[str, dict[str, Figures]]) -> Table:
    columns = {
        key: text
        for key, text in _COLUMNS.items()
        if any(key in figures for ones in middle.values() for figures in ones.values())
    }
    table = Table(title=title, box=None)
    for column in ("", "", *columns.values()):
        table.add_column(column, justify="right" if column else "left")
    for case, ones in middle.items():
        for name, figures in ones.items():
            cells = (f"{figures[key]:.1f}" if key in figures else "" for key in columns)
            table.add_row(case, name, *cells)
    return table


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LabError as error:
        print(f"bench: {error}; all figures are void", file=sys.stderr)
        sys.exit(1)
