"""`edgenode apply`, `confirm`, `undo`: another configuration for a node that runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from edgenode import places
from edgenode.cli.options import (
    AsJson,
    ConfigPath,
    config_path,
    console,
    fail,
    load_config,
    refuse_config,
    show,
    trial_time,
)

APPLYING = 30.0
"""Seconds that control may take: BIRD parses a large configuration."""


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    for command in (apply, confirm, undo):
        app.command(rich_help_panel="Configuration")(command)


def apply(
    context: typer.Context,
    config: ConfigPath = None,
    confirm: Annotated[
        float | None,
        typer.Option(
            parser=trial_time,
            metavar="TIME",
            help="On trial for so long: 60s, 5m; 5 s to 1 h. Without `edgenode confirm` in that "
            "time it is undone.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Have the running control take up what the configuration file says now, without a restart.

    First everything is checked, and BIRD parses what it would be given. Then the difference is
    shown, with secrets hidden, and applied: sessions, checks and groups that did not change go on
    as they are, what is gone is withdrawn, what is new is announced when its checks are up.

    **`--confirm 60s` undoes all of it unless `edgenode confirm` comes in time**, and sooner when a
    session with a neighbor that stood is lost and does not come back. What was withdrawn in the
    meantime stays withdrawn.

    What cannot change while edgenode runs (`node`, `lifeline`, names of devices and sockets) is
    refused, with the units to restart. `systemctl reload edgenode-control` does the same without
    a trial. Exit status 1 where nothing was applied, 2 where the file is wrong.

    Examples:

        edgenode apply --dry-run

        edgenode apply --confirm 60s
    """
    from edgenode.cli.surroundings import missing
    from edgenode.config import ConfigError
    from edgenode.config.load import read
    from edgenode.control.texts import digest

    loaded = load_config(context, config, check_secrets=False)
    try:
        text = read(config_path(context, config))
    except ConfigError as error:
        refuse_config(error)
    body = {"digest": digest(text), "confirm": confirm, "dry_run": dry_run}
    answer = _call(context, config, "apply", body)
    answer["notes"] = [*answer["notes"], *missing(loaded)]
    within = answer["confirm_within_s"]

    def human() -> None:
        for line in answer["difference"]:
            console.print(line, markup=False)
        for note in answer["notes"]:
            console.print(f"note: {note}", markup=False)
        if not answer["difference"]:
            console.print("Nothing changes.")
        if within is not None:
            console.print(f"On trial: `edgenode confirm` within {within:g} s keeps it.")
        elif answer["applied"]:
            console.print(f"Applied to {loaded.node.name}.")

    show(answer, as_json, human)


def confirm(context: typer.Context, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Keep the configuration that is on trial, from now on and over restarts.

    Exit status 1 where none is on trial, or it could not be kept.
    """
    answer = _call(context, config, "confirm", {})
    show(answer, as_json, lambda: console.print("Kept, from now on and over restarts."))


def undo(context: typer.Context, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """End the trial: the configuration from before it runs again, at once.

    The file stays as it is: mend it, or `edgenode apply` would take it up again. Exit status 1
    where none is on trial.
    """
    answer = _call(context, config, "undo", {})
    show(answer, as_json, lambda: console.print("Undone: what was before the trial runs again."))


def _call(context: typer.Context, config: Any, route: str, body: dict[str, Any]) -> Any:
    from edgenode.api.client import ApiError, ControlAway, call
    from edgenode.config import read_essentials

    run_dir = read_essentials(config_path(context, config)).run_dir
    try:
        return call(places.control_socket(run_dir), "POST", f"/v1/{route}", body, APPLYING)
    except (ApiError, ControlAway) as error:
        fail(str(error))
