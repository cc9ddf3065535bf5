"""`edgenode regions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from edgenode.cli.columns import Column, Rows
from edgenode.cli.known import know
from edgenode.cli.options import EXIT_USAGE, AsJson, ConfigPath, console, errors, fail, show
from edgenode.cli.regionview import Region, Worker, notes
from edgenode.cli.regionview import regions as found_in
from edgenode.cli.status import ask
from edgenode.cli.tables import NONE, coloured, figure, limits, milliseconds, more
from edgenode.cli.times import spell

LINES = 100
"""Of a table, unless more are asked for: what is not up comes first."""

Limit = Annotated[
    int,
    typer.Option("--limit", "-n", min=0, help="Lines of a table; what is wrong first. 0: all."),
]


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Looking")(regions)


def regions(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[REGION]...", help="These alone. [default: all]"),
    ] = None,
    workers: Annotated[
        bool, typer.Option("--workers", "-w", help="Each worker, too; those that are not up first.")
    ] = False,
    limit: Limit = LINES,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """The regions of workers, nearest first: how far, how healthy, how full, and why.

    ROUND-TRIP is what a connection to the nearest healthy worker takes, through the tunnel,
    smoothed; the order follows it with some hysteresis. A service may prefer, exclude or pin
    regions: `edgenode trace` says which one a client would get. LIVE are connections from this
    node; at the soft limit new ones go elsewhere if they can, at the hard limit always.

    LOAD is what a worker that registered itself says of its host.

    STATE is *up*, *partly* (some workers are not), *down*, *unknown* (no probe has answered or
    failed yet), *draining*, *busy* (soft limit), *full* (hard limit) or *suspect* (its workers have
    not answered for longer than usual). A worker that is *ejected* is left alone by the relays for
    a while, because users' connections to it failed.

    Where a terminal is narrow, reasons stand below their rows and the least important columns are
    left out; in a pipe each row is one line with all of them. With `--json` there is everything,
    `--limit` or not.

    Exit status: 0; 1 where control does not answer; 2 where there is no such region.

    Examples:

        edgenode regions

        edgenode regions fra --workers

        edgenode regions --json | jq '.regions[] | select(.workers_up == 0) | .name'
    """
    answer = ask(know(context, config))
    every = found_in(answer)
    wanted = set(names or ())
    if unknown := sorted(wanted - {region.name for region in every}):
        known = ", ".join(region.name for region in every) or "none"
        fail(f"no such region: {', '.join(unknown)}; regions: {known}", EXIT_USAGE)
    chosen = [region for region in every if not wanted or region.name in wanted]
    data = {
        "node": answer["node"],
        "services": answer.get("services", []),
        "registry": answer.get("registry"),
        "regions": [region.as_json() for region in chosen],
    }
    show(data, as_json, lambda: _print(answer, chosen, workers, limit))


def _print(answer: Mapping[str, Any], found: Sequence[Region], workers: bool, limit: int) -> None:
    if not found:
        errors.print("edgenode: note: no region is configured for a service", markup=False)
        return
    lines = Rows(
        *(Column("#", 1), "REGION", "STATE", "ROUND-TRIP", "WORKERS"),
        *(Column("LIVE", 2), Column("SOFT / HARD", 3)),
        why="WHY",
    )
    shown = _bounded(found, limit)
    for region in shown:
        lines.add(
            str(region.order),
            region.name,
            coloured(region.state),
            milliseconds(region.rtt_ms),
            f"{region.healthy} of {region.total}",
            figure(region.live),
            limits(region.limits.soft, region.limits.hard),
            why=region.why,
        )
    lines.print()
    _more(len(found) - len(shown), "regions")
    for note in notes(answer):
        console.print(f"! {note}", markup=False, style="red")
    if workers:
        _print_workers([(region, worker) for region in found for worker in region.workers], limit)


def _print_workers(found: Sequence[tuple[Region, Worker]], limit: int) -> None:
    lines = Rows(
        *("REGION", "WORKER", "STATE", Column("FOR", 3), "ROUND-TRIP"),
        *(Column("LOAD", 2), Column("LIVE", 1), Column("SOFT / HARD", 4)),
        why="WHY",
    )
    ordered = sorted(found, key=lambda each: each[1].state == "up")
    shown = ordered[:limit] if limit else ordered
    for region, worker in shown:
        lines.add(
            region.name,
            worker.name,
            coloured(worker.state),
            NONE if worker.for_s is None else spell(worker.for_s),
            milliseconds(worker.rtt_ms),
            NONE if worker.load is None else f"{worker.load:.0%}",
            figure(worker.live),
            limits(worker.limits.soft, worker.limits.hard),
            why="" if worker.state == "up" else worker.why,
        )
    lines.print()
    _more(len(found) - len(shown), "workers")


def _bounded(found: Sequence[Region], limit: int) -> list[Region]:
    """In their order; where there are too many, those that are wrong rather than others."""
    if not limit or len(found) <= limit:
        return list(found)
    kept = sorted(found, key=lambda region: region.state == "up")[:limit]
    return sorted(kept, key=lambda region: region.order)


def _more(count: int, what: str) -> None:
    if count > 0:
        console.print(more(count, what), markup=False)
