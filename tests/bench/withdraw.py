"""From a death to the withdraw on the upstream's wire: `./run bench withdraw`.

edgenode beside its peers, each on a node of its own with its own proxy and session, all at one
upstream, in one lab. They have their turns one after another, again and again, so that the noise
of the machine hits all alike; while it is not its turn a peer's poll is at rest (SIGSTOP) and
takes nothing from the others. What takes many seconds, the peers at their defaults, comes last and
all at the same time. The proxy is killed, and comes back, at a random moment between two polls. A
user in another city asks all the time; when the route has moved, another city's edge answers.

Every figure is computed from captures (tests/bench/figures.py); `--from DIR` does it again.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from edgenode.lab import Lab, LabError, Layout, crowd, next_success, plan, wait_until
from edgenode.lab.delays import built_in
from edgenode.lab.process import send
from edgenode.lab.topology import Edge, Topology
from edgenode.lab.wire import Update, updates
from tests.bench import figures
from tests.bench.figures import KILL, RETURN, TOLD, UPSTREAM, USER, Mark, Report
from tests.bench.speakers import ANYCASTD_NOTE, CASES, PRIORITY, Case, Site, bird, group, proxy

LAYOUT = Layout(edges=("nyc", "sin"), regions=(), users=(USER,))
"""The other cities' edges, which answer when the city of the comparison is withdrawn."""

PIECE = 10
"""Rounds for which a lock is held at the most."""

REST = 0.3
"""Seconds between two deaths, for the machine to come to rest."""


def topology(cases: Sequence[Case]) -> Topology:
    """Three transits; beside the first of them a node for each case."""
    nodes = list(dict.fromkeys(case.node for case in cases))
    wide = crowd(plan(built_in(), LAYOUT), UPSTREAM, nodes)
    return replace(wide, groups=tuple(group(number) for number in range(len(nodes))))


class Stage:
    """The lab of the comparison."""

    def __init__(self, lab: Lab, cases: Sequence[Case]) -> None:
        self.lab = lab
        self.cases = cases
        nodes = list(dict.fromkeys(case.node for case in cases))
        self._sites = {
            name: Site(lab, _edge(lab, name), lab.topology.groups[number])
            for number, name in enumerate(nodes)
        }
        # The lab's own books are not kept for several threads.
        self._books = threading.Lock()

    def site(self, case: Case) -> Site:
        return self._sites[case.node]

    def start(self) -> None:
        """Start everything, and return when all announce. Raises LabError."""
        for city in LAYOUT.edges:
            far = Site(self.lab, _edge(self.lab, f"{city}1"), self.lab.topology.groups[0])
            proxy(far, self.lab.topology.groups)
            bird(far, self.lab.topology.groups)
        started = set()
        for case in self.cases:
            if case.node not in started:
                started.add(case.node)
                case.start(self.site(case))
        for case in self.cases:
            site = self.site(case)
            try:
                wait_until(
                    partial(self.lab.edge_route, site.node.name, site.prefix),
                    30,
                    f"{case.name} announces {site.prefix}",
                    every=0.2,
                )
            except LabError as error:
                raise LabError(f"{error}\n{_last_words(site)}") from None

    def rest(self, case: Case) -> None:
        """Stop what polls."""
        self._signal(case, signal.SIGSTOP)

    def wake(self, case: Case) -> None:
        """Let it go on."""
        self._signal(case, signal.SIGCONT)

    def _signal(self, case: Case, sig: int) -> None:
        if case.checker:
            pids = self.lab.pids(case.node, case.checker)
            # ExaBGP speaks BGP, and its child polls.
            send(pids[1:] if case.checker == "exabgp" else pids, sig)

    def mark(self, case: Case, run: str, event: str, at: float) -> Mark:
        """Write into the capture that something was done."""
        site = self.site(case)
        service = site.service if case.dies == "proxy" else ""
        mark = Mark(run, case.name, event, at, site.own, site.prefix, service)
        with (
            self.lab.inside(UPSTREAM),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            sender.sendto(mark.to_bytes(), ("127.0.0.1", figures.MARK_PORT))
        return mark

    def once(self, case: Case, directory: Path) -> None:
        """One death and one return. Raises LabError."""
        lab, site = self.lab, self.site(case)
        with (
            lab.captures([UPSTREAM], directory, figures.WIRE) as wires,
            lab.captures([USER], directory, figures.REQUESTS),
        ):
            load = lab.requests(USER, site.service, every=0.05 if case.slow else 0.01)
            wait_until(lambda: any(r.ok for r in load.requests()), 10, f"{case.name} serves users")
            time.sleep(REST + random.uniform(0, case.interval))
            kill = self._kill(case, directory.name)
            self._wait(wires[UPSTREAM], case, "withdraws", figures.withdrawn_at, kill)
            if kill.service:
                wait_until(
                    lambda: next_success(load.requests(), kill.at),
                    30,
                    f"the user is served again after {case.name} has withdrawn",
                )
            load.stop()
            # Else it would always come at the same moment after a poll, the one that found out.
            time.sleep(random.uniform(0, case.interval))
            back = self._return(case, directory.name)
            self._wait(wires[UPSTREAM], case, "announces again", figures.announced_at, back)
            # Some have more to say behind the first message.
            time.sleep(REST)

    def _kill(self, case: Case, run: str) -> Mark:
        """The mark from which the withdraw counts."""
        lab, site = self.lab, self.site(case)
        if case.name != "floor":
            with self._books:
                moment = lab.kill(
                    case.node,
                    "nginx" if case.dies == "proxy" else "control",
                    main_only=case.dies == "control",
                )
            return self.mark(case, run, KILL, moment)
        told = _tell(site.directory / "bird.ctl", "disable anycast")
        with self._books:
            moment = lab.kill(case.node, "nginx")
        self.mark(case, run, KILL, moment)
        return self.mark(case, run, TOLD, told)

    def _return(self, case: Case, run: str) -> Mark:
        lab, site = self.lab, self.site(case)
        with self._books:
            moment = lab.start(case.node, "nginx" if case.dies == "proxy" else "control")
        if case.dies == "proxy":
            moment = wait_until(lambda: self._accepts(site), 10, "the proxy is back", every=0.0005)
        if case.name == "floor":
            moment = _tell(site.directory / "bird.ctl", "enable anycast")
        return self.mark(case, run, RETURN, moment)

    def _accepts(self, site: Site) -> float | None:
        with self.lab.inside(site.node.name):
            client = socket.socket()
        with client:
            moment = time.time()
            return moment if client.connect_ex((site.service, 80)) == 0 else None

    def _wait(
        self,
        capture: Path,
        case: Case,
        what: str,
        find: Callable[[list[Update], Mark], float | None],
        mark: Mark,
    ) -> None:
        """Wait until the wire shows it; the capture is read when it has grown."""
        size = -1

        def seen() -> float | None:
            nonlocal size
            present = capture.stat().st_size
            if present == size:
                return None
            size = present
            return find(updates(capture), mark)

        wait_until(seen, 60, f"{case.name} {what} {mark.prefix}", every=0.05)


def _last_words(site: Site) -> str:
    """The end of each log of a node: the lab, and they with it, is about to go."""
    ends = []
    for log in sorted(site.directory.glob("*.log")):
        text = log.read_text(encoding="utf-8", errors="replace").strip()
        ends.append(f"{log.name}: {text[-1000:]}")
    return "\n".join(ends)


def _edge(lab: Lab, name: str) -> Edge:
    node = lab.topology.node(name)
    assert isinstance(node, Edge)
    return node


def _tell(path: Path, command: str) -> float:
    """A command on BIRD's control socket, open already; the UNIX time of just before."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.recv(4096)  # the greeting
        moment = time.time()
        connection.sendall(f"{command}\n".encode())
        connection.recv(4096)
    return moment


@contextlib.contextmanager
def turn(lock: Path | None) -> Iterator[None]:
    """Hold a lock that others who measure here hold as well."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def measure(
    stage: Stage, count: int, directory: Path, lock: Path | None, step: Callable[[str], None]
) -> None:
    """All runs of all cases, each with its captures in a directory of its own.

    The slow ones come behind, and without the lock: they sit and wait, all at the same time.
    """
    quick = [case for case in stage.cases if not case.slow]
    slow = [case for case in stage.cases if case.slow]

    def once(case: Case, number: int) -> None:
        stage.wake(case)
        stage.once(case, directory / f"{number + 1:02}-{stage.cases.index(case):02}-{case.node}")
        stage.rest(case)
        step(case.name)

    for first in range(0, count, PIECE):
        with turn(lock):
            for number in range(first, min(first + PIECE, count)):
                for case in quick:
                    once(case, number)
    with ThreadPoolExecutor(len(slow) or 1) as pool:
        for number in range(count):
            for future in [pool.submit(once, case, number) for case in slow]:
                future.result()


def table(report: Report, kind: str, title: str) -> Table:
    """For humans: milliseconds, and how many times the median of edgenode."""
    cases = report[kind]
    ours = cases.get("edgenode", {}).get("median")
    result = Table(box=None)
    for column in (title, "min", "median", "max", "median / edgenode's"):
        result.add_column(column, justify="left" if column == title else "right")
    for name, values in cases.items():
        ratio = f"{values['median'] / ours:.1f}" if ours else ""
        result.add_row(name, *(f"{value:.2f}" for value in values.values()), ratio)
    return result


def tell(console: Console, directory: Path, file: Path | None, notes: Sequence[str]) -> None:
    """Tables, goals and JSON, from the captures. Raises FiguresError."""
    document = figures.document(directory, notes)
    report: Report = {kind: document[kind] for kind in figures.KINDS}
    for kind, title in (
        (figures.WITHDRAW, "from the kill to the WITHDRAW on the upstream's wire"),
        (figures.ANNOUNCE, "from the proxy's return to the announcement on the wire"),
        (figures.OUTAGE, "from the kill to the next answer that a user gets, from another city"),
    ):
        if report[kind]:
            console.print(table(report, kind, title))
            console.print()
    for goal in figures.goals(report):
        console.print(("[green]✓[/] " if goal.reached else "[red]✗[/] ") + goal.text)
    for note in notes:
        console.print(f"note: {note}")
    if file is not None:
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def arguments() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog="./run bench withdraw",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=20, help="runs of each (default: 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--captures", type=Path, metavar="DIR", help="keep the captures there")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="only cases whose name begins so; again for more",
    )
    parser.add_argument("--quick", action="store_true", help="without the peers' slow defaults")
    parser.add_argument(
        "--lock",
        type=Path,
        metavar="FILE",
        help="hold an flock(2) on it in all but the slow turns, where others use this machine too",
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="measure nothing: compute all from the captures that were kept there",
    )
    return parser, parser.parse_args()


def chosen(only: Sequence[str] | None, quick: bool) -> list[Case]:
    """The cases that are wanted, in their order."""
    return [
        case
        for case in CASES
        if not (quick and case.slow)
        and (not only or any(case.name.startswith(name) for name in only))
    ]


def main() -> int:
    parser, options = arguments()
    cases = chosen(options.only, options.quick)
    if not cases or options.runs < 1:
        known = ", ".join(case.name for case in CASES)
        parser.error(f"nothing to measure; the cases are: {known}")
    notes = [ANYCASTD_NOTE] if any(case.name.startswith("anycastd") for case in cases) else []
    console = Console(highlight=False)
    if options.source:
        tell(console, options.source, options.json, notes)
        return 0
    if os.geteuid() != 0:
        parser.error("needs root: it makes network namespaces")
    with tempfile.TemporaryDirectory(prefix="edgenode-bench-") as scratch:
        directory = options.captures or Path(scratch)
        if any(directory.glob(f"*/{UPSTREAM}.pcap")):
            parser.error(f"{directory} holds captures already: they would count as well")
        run(console, cases, options.runs, directory, options.lock)
        tell(console, directory, options.json, notes)
    return 0


def run(
    console: Console, cases: Sequence[Case], count: int, directory: Path, lock: Path | None
) -> None:
    """Measure, all of it at a high priority: whatever else the machine does disturbs less.

    Raises LabError.
    """
    os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    with (
        Lab("bench", topology(cases)) as lab,
        Progress(console=console, transient=True) as progress,
    ):
        stage = Stage(lab, cases)
        with turn(lock):
            lab.up(progress.console.print, edges=False)
            progress.console.print(f"{len(cases)} cases, {count} runs of each")
            stage.start()
        for case in cases:
            stage.rest(case)
        task: TaskID = progress.add_task("", total=count * len(cases))

        def step(name: str) -> None:
            progress.update(task, advance=1, description=name)

        measure(stage, count, directory, lock, step)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LabError, figures.FiguresError) as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
