"""`edgenode trace`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import typer
from rich.text import Text

from edgenode import places
from edgenode.cli.columns import Column, Rows
from edgenode.cli.known import know
from edgenode.cli.options import EXIT_FAILED, EXIT_USAGE, AsJson, ConfigPath, console, fail, show
from edgenode.cli.regions import LINES, Limit
from edgenode.cli.tables import NONE, coloured, figure, limits, milliseconds, more


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Looking")(trace)


def trace(
    context: typer.Context,
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS",
            help="A client's, or one that the node listens on, with or without its port.",
        ),
    ],
    service: Annotated[
        str | None,
        typer.Option(
            "--service", "-s", metavar="NAME", help="Where the address does not say which one."
        ),
    ] = None,
    workers: Annotated[
        bool, typer.Option("--workers", "-w", help="The workers of all regions, not of one.")
    ] = False,
    limit: Limit = LINES,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Which region and worker a client would get now, and why, candidate by candidate.

    From what the relays go by at this moment: the table that is in force, the limits, what users'
    connections have shown. Regions stand in the order in which they are tried, and each says why
    it is taken or passed over; SHARE is a worker's chance to get the connection. All clients of a
    service are steered alike, so a client's address does not decide; one that the node listens on
    names the service.

    Where a terminal is narrow, reasons stand below their rows and the least important columns are
    left out; in a pipe each row is one line with all of them.

    Exit status: 0 where a worker would be given; 1 where the client would be refused, or control
    does not answer; 2 where there is no such service, it is not clear which one is meant, or the
    address is one of ours that no service listens on.

    Examples:

        edgenode trace 198.51.100.7

        edgenode trace 203.0.113.1:443 --workers

        edgenode trace 2001:db8::7 --service web --json | jq .workers
    """
    from edgenode.api.client import ApiError, ControlAway, call

    asked = {"address": address} | ({"service": service} if service is not None else {})
    socket = places.control_socket(know(context, config).run_dir)
    try:
        answer: dict[str, Any] = call(socket, "GET", f"/v1/trace?{urlencode(asked)}")
    except ControlAway as error:
        fail(str(error))
    except ApiError as error:
        fail(str(error), EXIT_USAGE if error.status in (400, 404) else EXIT_FAILED)
    show(answer, as_json, lambda: _print(answer, workers, limit))
    if answer["region"] is None:
        raise typer.Exit(EXIT_FAILED)


def _print(answer: Mapping[str, Any], everywhere: bool, limit: int) -> None:
    revision = "no table" if answer["revision"] is None else f"table {answer['revision']}"
    console.print(
        f"{answer['address']} at {answer['service']} ({' '.join(answer['listen'])}), {revision}",
        markup=False,
    )
    console.print(Text(answer["why"], "green" if answer["region"] else "bold red"))
    for problem in problems(answer):
        console.print(Text(f"! {problem}", "red"))
    lines = Rows(
        *("#", "REGION", "STATE", "ROUND-TRIP", Column("LIVE", 1), Column("SOFT / HARD", 2)),
        why="WHY",
    )
    shown = answer["regions"][: limit or None]
    for region in shown:
        lines.add(
            figure(region["place"]),
            region["region"],
            coloured(_state(region)),
            milliseconds(region["rtt_ms"]),
            figure(region["live"]),
            limits(region["soft_limit"], region["hard_limit"]),
            why=region["why"],
        )
    lines.print()
    _more(len(answer["regions"]) - len(shown), "regions")
    _print_workers(answer, everywhere, limit)


def _print_workers(answer: Mapping[str, Any], everywhere: bool, limit: int) -> None:
    found = [
        (region["region"], worker)
        for region in answer["regions"]
        if everywhere or region["chosen"]
        for worker in region["workers"]
    ]
    if not found:
        return
    found.sort(key=lambda each: -each[1]["share"])
    lines = Rows(
        *("WORKER", "SHARE", "STATE", "ROUND-TRIP"),
        *(Column("WEIGHT", 2), Column("LIVE", 1), Column("SOFT / HARD", 3)),
        why="WHY",
    )
    shown = found[: limit or None]
    for region, worker in shown:
        lines.add(
            f"{region}/{worker['worker']}:{worker['port']}",
            f"{worker['share']:.0%}" if worker["share"] else NONE,
            coloured(_state_of(worker)),
            milliseconds(worker["rtt_ms"]),
            _weight(worker),
            figure(worker["live"]),
            limits(worker["soft_limit"], worker["hard_limit"]),
            why=worker["why"],
        )
    lines.print()
    _more(len(found) - len(shown), "workers")


def problems(answer: Mapping[str, Any]) -> Iterator[str]:
    """What makes the answer one in theory only. Pure."""
    group, steering = answer["group"], answer["steering"]
    if group["level"] == "withdrawn":
        yield (
            f"the group {group['name']} is withdrawn: new clients go to other sites "
            f"(edgenode why {group['name']})"
        )
    if not steering["connected"]:
        yield "steering is away: nobody is accepted here unless it still runs with its last table"
    elif steering["applied"] != answer["revision"]:
        yield f"steering still serves table {steering['applied']}"
    if steering["connected"] and steering["report_age_s"] is None:
        yield "steering has not reported yet: limits and connections are not counted"
    elif (age := steering["report_age_s"] or 0.0) > 10:
        yield f"steering has not reported for {age:.0f} s: its connections may be others now"


def _state(region: Mapping[str, Any]) -> str:
    if region["chosen"]:
        return "chosen"
    if region["draining"]:
        return "draining"
    return "next" if region["place"] is not None else "not used"


def _state_of(worker: Mapping[str, Any]) -> str:
    if worker.get("suspect"):
        return "suspect"
    return "draining" if worker["draining"] else str(worker["state"])


def _weight(worker: Mapping[str, Any]) -> str:
    now, whole = worker["weight_now"], worker["weight"]
    return str(whole) if now is None or now == whole else f"{now:g} of {whole}"


def _more(count: int, what: str) -> None:
    if count > 0:
        console.print(more(count, what), markup=False)
