"""`edgenode software`: the appliance's releases of edgenode."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from edgenode import logs
from edgenode.cli.options import (
    AsJson,
    ConfigPath,
    config_path,
    console,
    errors,
    fail,
    show,
    trial_time,
)
from edgenode.cli.tables import row, table
from edgenode.config import read_essentials
from edgenode.software.errors import SoftwareError
from edgenode.software.node import Node
from edgenode.software.parts import USUAL, Part, Standing
from edgenode.software.store import Store
from edgenode.software.trial import Patience
from edgenode.system.look import look

app = typer.Typer(
    name="software",
    help="""The appliance's releases of edgenode, which change without a reboot.

A release is a signed system extension (`edgenode_VERSION.raw`). Each part of edgenode may run one
of its own: control restarts within the lifeline's grace, so that no route moves; steering hands its
connections over. Each is on trial until all works that worked before, and goes back by itself where
it does not.
""",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_RUN_DIR = Path("/run/edgenode")

Within = Annotated[
    float,
    typer.Option(
        "--within", parser=trial_time, metavar="TIME", help="For all to work again, a part."
    ),
]
Hold = Annotated[
    float, typer.Option("--hold", parser=trial_time, metavar="TIME", help="For which it stays so.")
]


def add_to(parent: typer.Typer) -> None:
    """Register the subcommands."""
    parent.add_typer(app, rich_help_panel="Configuration")


@app.command("list")
def list_(context: typer.Context, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Which releases are there, and which part runs which."""
    with _refusals():
        node = _node(context, config)
        standings, failed = node.standings(), node.store.failed()
        versions = node.store.versions()
    data: dict[str, Any] = {
        "parts": [_as_json(each) for each in standings],
        "versions": [{"version": v, "failed": failed.get(v)} for v in versions],
    }

    def human() -> None:
        shown = table("PART", "RUNS", "STARTS WITH", "BEFORE", "ON TRIAL")
        for each in standings:
            cells = (each.running, each.kept, each.before, each.trial)
            row(shown, each.part.value, *(cell or "-" for cell in cells))
        console.print(shown)
        for version in versions:
            why = f": failed ({failed[version]})" if version in failed else ""
            console.print(f"{version}{why}", markup=False)

    show(data, as_json, human)


@app.command()
def install(
    context: typer.Context,
    release: Annotated[
        str, typer.Argument(metavar="FILE|VERSION", help="An extension, or one that is here.")
    ],
    again: Annotated[
        bool, typer.Option("--again", help="Also one that failed here before.")
    ] = False,
    lifeline: Annotated[
        bool,
        typer.Option(
            "--lifeline", help="The lifeline, too: it withdraws for a moment. Drain first."
        ),
    ] = False,
    within: Within = 60.0,
    hold: Hold = 5.0,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Have edgenode run another release: exec-runner, control, steering, the command.

    One after the other, each on trial: it has to do what it did before (processes are up, groups
    are announced), for `--hold` in a row, before `--within` is over. Where it does not, that part
    goes back to what it ran, the release is marked as failed, and the parts after it are left as
    they are. Interrupted, or with the node rebooted, a part on trial goes back, too.

    Refused is what is not signed by a key of this node, is for another system, or failed before.

    Exit status 0: all parts run it; 1: not.

    Examples:

        edgenode software install edgenode_1.4.2.raw

        edgenode software install 1.4.1 --again
    """
    with _refusals():
        node = _node(context, config)
        with node.store.locked():
            node.undo()
            version = release
            if "/" in release or release.endswith(".raw"):
                version = node.add(Path(release))
            elif not node.store.file(release).exists():
                there = ", ".join(node.store.versions())
                raise SoftwareError(f"there is no {release}, nor a file of that name: {there}")
            if (why := node.store.failed().get(version)) and not again:
                raise SoftwareError(f"{version} failed here ({why}): --again tries it once more")
            node.mark(version, None)
            parts = [*USUAL, *([Part.LIFELINE] if lifeline else [])]
            _change(node, version, parts, Patience(within, hold), as_json)


@app.command()
def rollback(
    context: typer.Context,
    parts: Annotated[
        list[Part] | None, typer.Argument(metavar="[PART]...", help="[default: all but lifeline]")
    ] = None,
    within: Within = 60.0,
    hold: Hold = 5.0,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Have parts run again what they ran before the last install, on trial as well."""
    with _refusals():
        node = _node(context, config)
        with node.store.locked():
            node.undo()
            known = {each.part: each for each in node.standings()}
            wanted = [part for part in Part if part in (parts or USUAL) and known[part].before]
            if not wanted:
                raise SoftwareError("nothing was installed before what is kept now")
            for version in dict.fromkeys(str(known[part].before) for part in wanted):
                same = [part for part in wanted if known[part].before == version]
                _change(node, version, same, Patience(within, hold), as_json)


@app.command()
def undo(context: typer.Context, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """End trials that nobody judges any more: each part runs what it starts with.

    systemd runs this by itself when an install was killed.
    """
    with _refusals():
        node = _node(context, config)
        with node.store.locked():
            ended = node.undo()
    text = f"{', '.join(ended)}: back to what was kept" if ended else "There is no trial."
    show(
        {"undone": [part.value for part in ended]},
        as_json,
        lambda: console.print(text, markup=False),
    )


def _change(node: Node, version: str, parts: list[Part], patience: Patience, as_json: bool) -> None:
    # A connection that is lost, maybe because of this, ends nothing.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    told = partial(errors.print, markup=False)
    changed = node.change(version, parts, patience, lambda text: told(f"edgenode: {text}"))
    node.prune()
    standings = node.standings()
    runs = ", ".join(f"{each.part} {each.running or '-'}" for each in standings)
    data = {
        "version": version,
        "changed": [part.value for part in changed],
        "parts": [_as_json(each) for each in standings],
    }
    show(data, as_json, lambda: console.print(f"Runs: {runs}", markup=False))


def _as_json(standing: Standing) -> dict[str, str | None]:
    return {
        "part": standing.part.value,
        "runs": standing.running,
        "starts_with": standing.kept,
        "before": standing.before,
        "on_trial": standing.trial,
    }


def _node(context: typer.Context, config: Path | None) -> Node:
    """Raises SoftwareError."""
    if os.geteuid() != 0:
        raise SoftwareError("this needs root")
    logs.to_stderr(False)
    path = config_path(context, config)
    run_dir = read_essentials(path).run_dir if os.path.lexists(path) else _RUN_DIR
    return Node(Store(), lambda: look(run_dir))


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except SoftwareError as error:
        fail(str(error))
