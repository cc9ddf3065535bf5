"""With many groups and checks on one node: `./run bench scale`.

Two nodes at one upstream: one with a single group and a single check, one with 1,000 groups and
500 tcp checks a second. Measured: the CPU that `edgenode control` takes while nothing happens,
and how long the withdraw of a single group takes on either when its proxy dies, in turns. And how
long the last withdraw takes when the proxy dies that all the others hang on.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edgenode.lab import Group, Lab, LabError, Layout, crowd, plan, wait_until
from edgenode.lab.build import nginx
from edgenode.lab.delays import built_in
from edgenode.lab.topology import Edge, Topology
from edgenode.lab.wire import updates
from tests.bench.figures import Summary, summary
from tests.bench.speakers import PRIORITY, Site, edgenode_daemons

TRANSIT, SMALL, LARGE = "lon", "small", "large"
ONE, ALL = "one", "all"
"""The proxies of a node: one that the first group hangs on, one for all others."""
PORTS = {ONE: 8080, ALL: 80}

_FIRST = int(IPv4Address("198.18.0.0"))
_TICK = os.sysconf("SC_CLK_TCK")


def prefix(number: int) -> IPv4Network:
    """The prefix of the n-th group, out of the benchmarks' range (RFC 2544)."""
    return IPv4Network((_FIRST + 16 * number, 28))


def lab_group(number: int) -> Group:
    """For the transit's filters, which want both families."""
    v4, v6 = prefix(number), IPv6Network(f"2001:2:0:{number:x}::/64")
    return Group(f"g{number}", (v4, v6), (v4[1], v6[1]))


def topology(groups: int) -> Topology:
    """A transit with both nodes; group 0 of the small one is the first after the large one's."""
    layout = Layout(transits=(TRANSIT,), neighbors=(), edges=(), regions=(), users=())
    wide = crowd(plan(built_in(), layout), TRANSIT, (SMALL, LARGE))
    return replace(wide, groups=tuple(lab_group(number) for number in range(groups + 1)))


def target(check: int) -> str:
    """Where a check connects to: the first to a proxy of its own, the others each to an address
    of their own of one proxy."""
    if check == 0:
        return f"127.0.0.1:{PORTS[ONE]}"
    return f"127.1.{check // 250}.{check % 250 + 1}:{PORTS[ALL]}"


def configuration(groups: range, checks: int, interval: float) -> Iterator[str]:
    """Groups and checks as edgenode.toml has them. Of the checks, only the first group has the
    first: its proxy is the one that is killed."""
    for number, group in enumerate(groups):
        check = number if number < checks else 1 + number % max(1, checks - 1)
        yield f'\n[[groups]]\nname = "g{group}"\nprefixes = ["{prefix(group)}"]\n'
        # So many deaths are not what an upstream would bear.
        yield f'checks = ["c{check}"]\ndamping.enabled = false\n'
    for check in range(checks):
        yield f'\n[[checks]]\nname = "c{check}"\ntype = "tcp"\ntarget = "{target(check)}"\n'
        yield f"interval = {interval}\nrise = 1\nfall = 2\n"


_NGINX = """\
daemon off;
user root;
worker_processes 1;
pid {directory}/{name}.pid;
error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {directory}/{name}-tmp;
    proxy_temp_path {directory}/{name}-tmp;
    fastcgi_temp_path {directory}/{name}-tmp;
    uwsgi_temp_path {directory}/{name}-tmp;
    scgi_temp_path {directory}/{name}-tmp;
    server {{ listen {port} backlog=4096; return 200; }}
}}
"""


def start(site: Site, groups: range, checks: int, interval: float) -> None:
    """Proxies and edgenode on a node."""
    for name, port in PORTS.items():
        text = _NGINX.format(directory=site.directory, name=name, port=port)
        site.spawn(name, *nginx(site.write(f"{name}.conf", text)))
    edgenode_daemons(site, "".join(configuration(groups, checks, interval)))


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has taken so far, all its threads (proc_pid_stat(5))."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    fields = stat[stat.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


class Scale:
    """Both nodes, up."""

    def __init__(self, lab: Lab, groups: int, directory: Path) -> None:
        self.lab = lab
        self.groups = {SMALL: range(groups, groups + 1), LARGE: range(groups)}
        self.directory = directory

    def site(self, node: str) -> Site:
        place = self.lab.topology.node(node)
        assert isinstance(place, Edge)
        return Site(self.lab, place, self.lab.topology.groups[self.groups[node][0]])

    def announced(self, node: str) -> int:
        """How many prefixes the upstream has from a node."""
        reply = self.lab.birdc(TRANSIT, f"show route protocol {node}_v4 count")
        return int(reply.split()[0])

    def wait_all(self, node: str) -> None:
        wanted = len(self.groups[node])
        wait_until(
            lambda: self.announced(node) == wanted, 60, f"{node} announces {wanted}", every=0.2
        )

    def load(self, node: str, seconds: float) -> dict[str, float]:
        """CPU of control and of BIRD in percent of one core, while nothing happens."""
        pids = {name: self.lab.main_pid(node, name) for name in ("control", "bird")}
        before = {name: cpu(pid) for name, pid in pids.items()}
        begin = time.monotonic()
        time.sleep(seconds)
        passed = time.monotonic() - begin
        return {
            name: round((cpu(pid) - before[name]) / passed * 100, 2) for name, pid in pids.items()
        }

    def kill(self, node: str, proxy: str, name: str, count: int) -> tuple[float, float]:
        """Kill a proxy of a node: milliseconds to the first and to the last of `count` withdraws.

        It is started again, and all is announced when this returns.
        """
        own = self.lab.topology.uplink(node).end(node).ipv4.ip
        with self.lab.captures([TRANSIT], self.directory / name, "tcp port 179") as files:
            moment = self.lab.kill(node, proxy, signal.SIGKILL)
            size = -1

            def withdrawn() -> list[float] | None:
                nonlocal size
                if (present := files[TRANSIT].stat().st_size) == size:
                    return None
                size = present
                seen = {
                    gone: update.time
                    for update in updates(files[TRANSIT])
                    if update.time >= moment and update.source == own
                    for gone in update.withdrawn
                }
                return sorted(seen.values()) if len(seen) >= count else None

            times = wait_until(withdrawn, 30, f"{node} withdraws {count}", every=0.1)
        self.lab.start(node, proxy)
        self.wait_all(node)
        time.sleep(1.2)  # tripwires are held again, and rest
        return (times[0] - moment) * 1000, (times[-1] - moment) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench scale", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="deaths on each node (default: 20)")
    parser.add_argument("--groups", type=int, default=1000, help="(default: 1000, at most 4000)")
    parser.add_argument("--checks", type=int, default=500, help="(default: 500)")
    parser.add_argument("--interval", type=float, default=1.0, help="of each check (default: 1 s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="to measure CPU (default: 30)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root: it makes network namespaces")
    if not 1 <= options.groups <= 4000 or not 2 <= options.checks <= options.groups:
        parser.error("--groups from 1 to 4000, --checks from 2 to their number")
    console = Console(highlight=False)
    document = measure(console, options)
    show(console, document)
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(console: Console, options: argparse.Namespace) -> dict[str, object]:
    """All figures. Raises LabError."""
    os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    with (
        tempfile.TemporaryDirectory(prefix="edgenode-scale-") as scratch,
        Lab("scale", topology(options.groups)) as lab,
        Progress(console=console, transient=True) as progress,
    ):
        lab.up(progress.console.print, edges=False)
        scale = Scale(lab, options.groups, Path(scratch))
        progress.console.print(f"{options.groups} groups, {options.checks} checks")
        start(scale.site(SMALL), scale.groups[SMALL], 1, options.interval)
        start(scale.site(LARGE), scale.groups[LARGE], options.checks, options.interval)
        for node in (SMALL, LARGE):
            scale.wait_all(node)
        time.sleep(3)
        progress.console.print(f"CPU over {options.seconds:g} s")
        load = scale.load(LARGE, options.seconds)
        task = progress.add_task("withdraw", total=2 * options.runs + 1)
        values: dict[str, list[float]] = {SMALL: [], LARGE: []}
        for run in range(options.runs):
            for node in (SMALL, LARGE):
                values[node].append(scale.kill(node, ONE, f"{run}-{node}", 1)[0])
                progress.advance(task)
        hanging = options.groups - 1
        first, last = scale.kill(LARGE, ALL, "all", hanging)
        return {
            "groups": options.groups,
            "checks_per_second": round(options.checks / options.interval),
            "cpu_percent": load,
            "kill_to_withdraw_ms": {
                "1 group": summary(values[SMALL]),
                f"1 of {options.groups} groups": summary(values[LARGE]),
            },
            "all_at_once_ms": {
                "withdraws": hanging,
                "first": round(first, 3),
                "last": round(last, 3),
            },
        }


def show(console: Console, document: dict[str, object]) -> None:
    """For humans."""
    load, kills = document["cpu_percent"], document["kill_to_withdraw_ms"]
    assert isinstance(load, dict)
    assert isinstance(kills, dict)
    cases: dict[str, Summary] = kills
    table = Table(title="from the kill to the WITHDRAW, milliseconds", box=None)
    for column in ("", "min", "median", "max"):
        table.add_column(column, justify="left" if not column else "right")
    for name, values in cases.items():
        table.add_row(name, *(f"{value:.2f}" for value in values.values()))
    console.print(table)
    one, many = (values["median"] for values in cases.values())
    told = [
        (load["control"] < 10, f"control takes {load['control']} % of a core, less than 10 %"),
        (many <= 2 * one, f"the median is {many / one:.2f} times that of one group, at most 2"),
    ]
    for reached, text in told:
        console.print(("[green]✓[/] " if reached else "[red]✗[/] ") + text)
    console.print(
        f"BIRD takes {load['bird']} % of a core; all at once: {document['all_at_once_ms']}"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
