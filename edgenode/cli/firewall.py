"""`edgenode firewall`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from edgenode import regularfile
from edgenode.cli.options import (
    EXIT_USAGE,
    AsJson,
    ConfigPath,
    console,
    fail,
    load_config,
    show,
    trial_time,
)
from edgenode.config import Config
from edgenode.config.firewall import lets_in
from edgenode.config.schema import Firewall
from edgenode.config.values import Network
from edgenode.firewall.client import ssh_client
from edgenode.firewall.trial import FirewallError, Trial

app = typer.Typer(
    name="firewall",
    help="""The node's packet filter, which follows from the configuration.

Rules that lock you out undo themselves: `apply` loads them on trial, and unless `confirm` comes in
time (from a *new* connection, which proves that one can be made) the rules from before are back.
A reboot loads the confirmed rules. `edgenode render firewall` prints them.
""",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


def add_to(parent: typer.Typer) -> None:
    """Register the subcommands."""
    parent.add_typer(app, rich_help_panel="Configuration")


@app.command()
def apply(
    context: typer.Context,
    config: ConfigPath = None,
    undo_after: Annotated[
        float,
        typer.Option(parser=trial_time, metavar="TIME", help="Of the trial: 60s, 5m; 5 s to 1 h."),
    ] = 60.0,
    no_undo: Annotated[
        bool, typer.Option("--no-undo", help="No trial: from the console, where nothing locks out.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also where this SSH connection would not be let in.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Load the rules that follow from the configuration, on trial.

    Needs root. Nothing is done where they are the confirmed ones already.
    """
    loaded = load_config(context, config, check_secrets=False)
    section = _section(loaded)
    client = ssh_client()
    if client and not force and not _lets_in(section.management, _operator(section), client):
        fail(
            f"{client}, where you are connected from, is in none of firewall.management: "
            "add it, or go on with --force"
        )
    text = _text(loaded, section)
    try:
        changed = _trial(loaded).apply(text, None if no_undo else undo_after)
    except FirewallError as error:
        fail(str(error))

    def human() -> None:
        if not changed:
            console.print("The rules are in place already.")
        elif no_undo:
            console.print("The rules are in place.")
        else:
            console.print(
                f"On trial: `edgenode firewall confirm` within {undo_after:g} s keeps it."
            )

    show({"changed": changed, "on_trial": changed and not no_undo}, as_json, human)


@app.command()
def confirm(context: typer.Context, config: ConfigPath = None) -> None:
    """Keep the rules on trial, from now on and over reboots."""
    loaded = load_config(context, config, check_secrets=False)
    try:
        _trial(loaded).confirm()
    except FirewallError as error:
        fail(str(error))


@app.command()
def undo(context: typer.Context, config: ConfigPath = None) -> None:
    """Load the confirmed rules again, at once."""
    loaded = load_config(context, config, check_secrets=False)
    try:
        _trial(loaded).undo()
    except FirewallError as error:
        fail(str(error))


@app.command()
def status(context: typer.Context, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Whether the confirmed rules are those of the configuration, and whether some are on trial."""
    loaded = load_config(context, config, check_secrets=False)
    section = _section(loaded)
    try:
        found = _trial(loaded).status()
    except FirewallError as error:
        fail(str(error))
    current = found.confirmed == _text(loaded, section)
    data = {
        "confirmed": found.confirmed is not None,
        "current": current,
        "loaded": found.loaded,
        "on_trial": found.pending is not None and found.armed,
    }

    def human() -> None:
        if found.confirmed is None:
            console.print("No rules are confirmed: the baseline (SSH alone) is in place.")
        else:
            said = "are those of the configuration" if current else "are older: apply again"
            console.print(f"The confirmed rules {said}.")
            if not found.loaded:
                console.print(
                    "They are not in place: `journalctl -u edgenode-firewall` says why, "
                    "`edgenode firewall apply` loads them."
                )
        if data["on_trial"]:
            console.print("Rules are on trial, and will be undone unless they are confirmed.")

    show(data, as_json, human)


def write(config: Config) -> None:
    """`edgenode render firewall`."""
    sys.stdout.write(_text(config, _section(config)))


def _section(config: Config) -> Firewall:
    if config.firewall is None:
        fail("the configuration has no [firewall]: name the management networks", EXIT_USAGE)
    return config.firewall


def _text(config: Config, section: Firewall) -> str:
    from edgenode.firewall import render

    return render(config, section, _operator(section))


def _operator(section: Firewall) -> str:
    """The rules of the operator's own."""
    operator = ""
    for path in section.include:
        try:
            operator += regularfile.read(path).decode().rstrip("\n") + "\n"
        except OSError as error:
            fail(f"firewall.include: {path} cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            fail(f"firewall.include: {path} is no UTF-8 text")
    return operator


def _trial(config: Config) -> Trial:
    return Trial(config.node.state_dir / "firewall")


def _lets_in(management: Iterable[Network], operator: str, client: str) -> bool:
    """Whether SSH from there may be let in, as far as can be told."""
    if re.search(r"^[^#\n]*\bdport\b[^#\n]*\b(22|ssh)\b", operator, re.MULTILINE):
        return True  # by whom is nft's to know: the trial finds out
    return lets_in(management, client)
