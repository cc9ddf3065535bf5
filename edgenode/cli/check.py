"""`edgenode check-config`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from edgenode.cli.options import (
    EXIT_USAGE,
    AsJson,
    ConfigPath,
    config_path,
    console,
    errors,
    write_json,
)
from edgenode.config import Config, ConfigError, load
from edgenode.config.errors import Problem, spell


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command("check-config", rich_help_panel="Configuration")(check_config)


def check_config(
    context: typer.Context,
    config: ConfigPath = None,
    secrets: Annotated[
        bool, typer.Option(help="Look at the files of secrets too; they lie on the node alone.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Check a configuration file and say everything that is wrong with it.

    Each problem is a line `FILE:LINE: KEY: what is wrong and what would be right`. Nothing is
    touched. Where BIRD is installed it parses what would be rendered. A program of an exec check or
    hook that is not on this machine is a warning (not with `--no-secrets`). Exit status 2 where
    there is a problem.
    """
    from edgenode.cli.surroundings import missing

    path = config_path(context, config)
    try:
        loaded = load(path, check_secrets=secrets)
        if secrets or not loaded.bgp.include:
            _ask_bird(loaded, path)
    except ConfigError as error:
        if as_json:
            found = [{**dataclasses.asdict(p), "key": spell(p.key)} for p in error.problems]
            for problem in found:
                del problem["depends"]
            write_json({"file": str(path), "problems": found, "error": str(error)})
        else:
            for line in error.lines():
                errors.print(line, markup=False)
        raise typer.Exit(EXIT_USAGE) from None
    warnings = missing(loaded) if secrets else []
    if as_json:
        write_json({"file": str(path), "problems": [], "warnings": warnings})
        return
    for warning in warnings:
        errors.print(f"{path}: warning: {warning}", markup=False)
    prefixes = sum(len(group.prefixes) for group in loaded.groups)
    console.print(
        f"{path}: right: {len(loaded.groups)} groups with {prefixes} prefixes, "
        f"{len(loaded.checks)} checks, {len(loaded.services)} services, "
        f"{len(loaded.regions)} regions, {len(loaded.bgp.neighbors)} neighbors",
        markup=False,
    )


def _ask_bird(config: Config, path: Path) -> None:
    """Have BIRD's program parse what would be rendered. Raises ConfigError."""
    from edgenode.bgp import offline
    from edgenode.bgp.birdfiles import read_includes

    if (bird := offline.program()) and (
        why := offline.refusal(config, {}, read_includes(config), bird)
    ):
        raise ConfigError(path, [Problem(("bgp",), why)])
