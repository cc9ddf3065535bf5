"""From a worker's death to new tables: `./run bench ranking`.

How long a steering table of 10,000 workers takes to be made and to be picked from (`tables`); how
long from a verdict until all relay workers of a real steering obey the new table (`tables`); how
soon a region that died is in no relay's table, and how many connections it cost (`deaths`); and
what 1,000 workers and 200 peers cost control (`crowd`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgenode.lab import LabError
from tests.bench import crowd, deaths, tables
from tests.bench.figures import Summary
from tests.bench.speakers import PRIORITY

HANDOVER_MS = 50.0
INTERVALS = 1.5
CPU_PERCENT = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench ranking", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="changes of a table (default: 20)")
    parser.add_argument("--deaths", type=int, default=4, help="of a region, each way (default: 4)")
    parser.add_argument("--peers", type=int, default=200, help="(default: 200, at most 250)")
    parser.add_argument("--workers", type=int, default=1000, help="(default: 1000)")
    parser.add_argument("--seconds", type=float, default=30.0, help="to measure CPU (default: 30)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root: it makes network namespaces")
    if not crowd.LIVE <= options.peers <= 250 or not crowd.LIVE <= options.workers <= 8000:
        parser.error(f"--peers from {crowd.LIVE} to 250, --workers from {crowd.LIVE} to 8000")
    if options.runs < 1 or options.deaths < 1 or options.seconds <= 0:
        parser.error("--runs, --deaths and --seconds are above 0")
    console = Console(highlight=False)
    document = measure(console, options)
    show(console, document)
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(console: Console, options: argparse.Namespace) -> dict[str, Any]:
    """All figures. Raises LabError."""
    os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    console.print("a table of 100 regions of 100 workers")
    pure = tables.pure(100, 100)
    with tempfile.TemporaryDirectory(prefix="edgenode-ranking-") as scratch:
        handover = tables.handover(Path(scratch), options.runs, console.print)
    return {
        "pure": pure,
        "verdict_to_relays_ms": handover,
        "deaths": deaths.measure(options.deaths, console.print),
        "crowd": crowd.measure(options.peers, options.workers, options.seconds, console.print),
    }


def show(console: Console, document: dict[str, Any]) -> None:
    """For humans."""
    pure: dict[str, Summary] = document["pure"]
    dead: dict[str, Any] = document["deaths"]["cases"]
    rows: list[tuple[str, str, Summary]] = [
        ("a first table of 10,000 workers", "ms", pure["first_table_ms"]),
        ("the next one", "ms", pure["next_table_ms"]),
        ("a pick from it", "µs", pure["pick_us"]),
    ]
    for size, cases in document["verdict_to_relays_ms"].items():
        rows += [(f"to relays, {size}: {what}", "ms", v) for what, v in cases.items()]
    for case, found in dead.items():
        rows.append((f"death ({case}): known", "ms", found["gone_ms"]))
        rows.append((f"death ({case}): attempts", "", found["failed_attempts"]))
    table = Table(box=None)
    for column in ("", "", "min", "median", "max"):
        table.add_column(column, justify="left" if not column else "right")
    for name, unit, values in rows:
        table.add_row(name, unit, *(f"{value:.2f}" for value in values.values()))
    console.print(table)
    slowest = max(
        (values["median"], size)
        for size, cases in document["verdict_to_relays_ms"].items()
        for values in cases.values()
    )
    gone = [found["gone_ms"]["max"] for found in dead.values()]
    limit = INTERVALS * document["deaths"]["probe_interval_s"] * 1000
    cpu = document["crowd"]["cpu_percent"]["control"]
    ratio = pure["naive_pick_us"]["median"] / pure["pick_us"]["median"]
    told = [
        (
            slowest[0] < HANDOVER_MS,
            f"all relay workers obey a new table within {slowest[0]:.1f} ms of the verdict"
            f" ({slowest[1]}; the worst median), less than {HANDOVER_MS:g} ms",
        ),
        (
            max(gone) <= limit,
            f"a region that refuses or is silent is in no table after {max(gone):.0f} ms"
            " at the latest,"
            f" {INTERVALS:g} probe intervals are {limit:.0f} ms",
        ),
        (
            cpu < CPU_PERCENT,
            f"control takes {cpu} % of a core with {document['crowd']['workers']} workers and"
            f" {document['crowd']['peers']} peers, less than {CPU_PERCENT:g} %",
        ),
    ]
    for reached, text in told:
        console.print(("[green]✓[/] " if reached else "[red]✗[/] ") + text)
    console.print(f"sorting all workers for each connection would take {ratio:.0f} times as long")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
