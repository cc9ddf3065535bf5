"""`edgenode top`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from edgenode import places
from edgenode.cli.columns import Column, Rows, columns
from edgenode.cli.options import (
    DEFAULT_CONFIG,
    EXIT_USAGE,
    AsJson,
    ConfigPath,
    config_path,
    console,
    errors,
    fail,
    write_line,
)
from edgenode.cli.tables import NONE, coloured, milliseconds, share, size

if TYPE_CHECKING:
    from edgenode.cli.topview import Frame

WORKERS = 10

_AGAIN = 1.0
"""Seconds until a steering that is away is asked again."""


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Looking")(top)


def top(
    context: typer.Context,
    interval: Annotated[
        float,
        typer.Option(
            "--interval", "-i", min=1.0, max=3600.0, help="Seconds that each look covers."
        ),
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="One look, and leave.")] = False,
    workers: Annotated[
        int, typer.Option("--workers", "-w", min=0, help="So many of the busiest. 0: none.")
    ] = WORKERS,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Users' connections as they come and go: by service and region, relay worker and worker.

    It asks `edgenode steering` itself, and works with control dead. Figures are of the last
    interval; NEW, FAIL, UP and DOWN are per second. In the row of a service (region `*`) FAIL are
    connections that ended as none should (`edgenode top --json` has all the reasons under
    `endings`); in that of a region, attempts to connect. CONNECT is how long users waited for a
    worker, half of them (P50) and all but one in a hundred (P99); RTT the way to the users, and
    RESENT the share of segments to them that were lost, of those sessions of which the kernel was
    asked. All times are as fine as their buckets.

    Of a relay worker, BUSY is the share of the last second in which it did not wait for events:
    near 100% it is at its end. LAG is the longest that an event waited for its turn.

    On a terminal it goes on until Ctrl-C, and waits for a steering that is away; in a pipe, or on
    a terminal that cannot be drawn on (TERM=dumb), each look is printed below the last, with all
    columns, or those for which COLUMNS has room. With `--json` each look is an object on a line of
    its own, and so is `{"error": …}`, after which it ends.

    Steering reports once a second: a look covers `--interval`, or up to a second more, and says how
    long it was. Of the configuration only `run_dir` is read; where the file is damaged a note says
    so, and what was confirmed last serves.

    Exit status: 0; 1 where steering does not answer, with `--once`, `--json` or in a pipe; 2 where
    the file of `--config` is not there.

    Examples:

        edgenode top

        edgenode top --once --workers 50

        edgenode top --json --interval 10 | jq '.traffic[] | select(.region == "*")'
    """
    path = _socket(config_path(context, config))
    looks = _looks(path, interval)
    try:
        if once or as_json or not sys.stdout.isatty() or console.is_dumb_terminal:
            _print(looks, once, workers, as_json)
        else:
            _live(path, interval, workers)
    except KeyboardInterrupt:
        return


def _socket(file: Path) -> Path:
    """Steering's, as far as a configuration says that may be damaged: who is on call sees it."""
    from edgenode.config import read_essentials

    found = read_essentials(file)
    path = places.steering_socket(found.run_dir)
    if found.problem:
        if not os.path.lexists(file) and file != DEFAULT_CONFIG:
            fail(found.problem, EXIT_USAGE)  # mistyped: another node's may be at the default place
        errors.print(f"edgenode: note: {found.problem}; steering is asked on {path}", markup=False)
    return path


def _looks(path: Path, interval: float) -> Iterator[Frame]:
    """Raises SteeringAway."""
    from edgenode.cli.topview import frame, pairs
    from edgenode.steering.watching import Reports

    with Reports(path) as reports:
        for before, after in pairs(reports, interval):
            yield frame(before, after)


def _print(looks: Iterator[Frame], once: bool, workers: int, as_json: bool) -> None:
    from edgenode.steering.watching import SteeringAway

    try:
        for number, look in enumerate(looks):
            if as_json:
                write_line(look.as_json())
            else:
                if number:
                    console.print()
                for line in lines(look, workers, columns()):
                    console.print(line)
            if once:
                return
    except SteeringAway as error:
        if as_json:
            write_line({"error": str(error)})
        fail(str(error))


def _live(path: Path, interval: float, workers: int) -> None:
    from edgenode.steering.watching import SteeringAway

    with Live(console=console, screen=True, auto_refresh=False) as screen:
        show(screen, [Text(f"edgenode top: the first look takes {interval:g} s")])
        while True:
            try:
                for look in _looks(path, interval):
                    show(screen, list(lines(look, workers, console.width)))
            except SteeringAway as error:
                show(screen, [Text(f"{error}. It is asked again", "red")])
                time.sleep(_AGAIN)


def show(screen: Live, found: list[Text]) -> None:
    """As many lines as the terminal has; none is folded."""
    most = max(1, console.height - 1)
    kept = found if len(found) <= most else [*found[: most - 1], Text("…", "dim")]
    for line in kept:
        line.truncate(console.width, overflow="ellipsis")
    screen.update(Group(*kept), refresh=True)


def lines(look: Frame, workers: int, width: int | None) -> Iterator[Text]:
    """A look, on so many columns. Pure."""
    from edgenode.cli.topview import EVERY

    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(look.at))
    live = sum(row.live for row in look.traffic if row.region == EVERY)
    new = sum(row.new_s for row in look.traffic if row.region == EVERY)
    told = f"{now}  {live} live, {_figure(new)} new/s, over {look.interval_s:.1f} s"
    yield Text(told + (f"; steering is {look.release}" if look.release else ""), "bold")
    for note in look.notes:
        yield Text(f"! {note}", "red")
    for part in (_traffic, _relays, lambda each: _workers(each, workers)):
        table = part(look)
        if table is not None:
            yield Text()
            yield from table.lines(width)


def _traffic(look: Frame) -> Rows:
    from edgenode.cli.topview import EVERY

    table = Rows(
        *("SERVICE", "REGION", "LIVE", "NEW/S", "FAIL/S"),
        *(Column("UP/S", 3), Column("DOWN/S", 2), Column("CONNECT P50", 4), Column("P99", 1)),
        *(Column("RTT", 5), Column("RESENT", 6)),
    )
    for row in look.traffic:
        style = "bold" if row.region == EVERY else ""
        table.add(
            Text(row.service, style),
            Text(row.region, style),
            str(row.live),
            _figure(row.new_s),
            Text(_figure(row.failed_s), "red" if row.failed_s else ""),
            size(row.up_s),
            size(row.down_s),
            milliseconds(row.connect_p50_ms),
            milliseconds(row.connect_p99_ms),
            milliseconds(row.rtt_p50_ms),
            share(row.retransmits),
        )
    return table


def _relays(look: Frame) -> Rows:
    table = Rows("RELAY", "PID", "STATE", "LIVE", "CPU", "BUSY", "LAG", "FORM")
    for relay in look.relays:
        table.add(
            str(relay.place),
            str(relay.pid) if relay.pid else NONE,
            coloured("up" if relay.healthy else "down"),
            str(relay.live),
            NONE if relay.cpu is None else f"{relay.cpu:.0%}",
            Text(f"{relay.busy:.0%}", "red" if relay.busy > 0.9 else ""),
            milliseconds(relay.lag_ms),
            relay.form or NONE,
        )
    return table


def _workers(look: Frame, most: int) -> Rows | None:
    if not most or not look.workers:
        return None
    table = Rows("BUSIEST WORKERS", "REGION", "LIVE", "FAIL/S")
    for worker in look.workers[:most]:
        failed = Text(_figure(worker.failed_s), "red" if worker.failed_s else "")
        table.add(worker.name, worker.region, str(worker.live), failed)
    return table


def _figure(value: float) -> str:
    """Three digits or more: 0, 0.25, 3.5, 1250."""
    if value == 0 or value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}".rstrip("0").rstrip(".")
