"""`edgenode lab`."""

from __future__ import annotations

import typer

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    rich_help_panel="Rehearsing",
    help="Build a small internet on this machine, and rehearse on it.",
)
