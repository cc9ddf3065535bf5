"""What the subcommands share: the configuration's place, exit statuses, output in two forms."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from edgenode.cli.times import parse_given
from edgenode.config import Config, ConfigError, load

DEFAULT_CONFIG = Path("/etc/edgenode/edgenode.toml")

EXIT_FAILED = 1
EXIT_USAGE = 2

ConfigPath = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help=f"The node's configuration. [default: {DEFAULT_CONFIG}, or $EDGENODE_CONFIG]",
        show_default=False,
    ),
]


class _Output:
    """Of this run of the command, for `fail`, which every room of it may call."""

    wanted = False
    """A program reads standard output."""
    written = False
    """It has its one document."""


def _as_json(wanted: bool) -> bool:
    _Output.wanted = wanted
    return wanted


AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help='Print JSON for programs instead; {"error": …} where it fails.',
        callback=_as_json,
        is_eager=True,
    ),
]

# No emoji: `:a:` stands in IPv6 addresses, too.
console = Console(highlight=False, soft_wrap=True, emoji=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def fail(sentence: str, status: int = EXIT_FAILED) -> NoReturn:
    """One clear sentence on standard error, for a program on standard output too, and out."""
    errors.print(f"edgenode: {sentence}", markup=False)
    if _Output.wanted:
        tell_program({"error": sentence})
    raise typer.Exit(status)


def config_path(context: typer.Context, path: Path | None) -> Path:
    """The option of the subcommand, else that of `edgenode`, else the default."""
    # typer 0.15 has the text of the option there, newer ones a Path.
    return Path(path or context.find_root().params.get("config") or DEFAULT_CONFIG)


def load_config(context: typer.Context, path: Path | None, *, check_secrets: bool = True) -> Config:
    """The configuration, or every problem of it on standard error and exit status 2."""
    try:
        return load(config_path(context, path), check_secrets=check_secrets)
    except ConfigError as error:
        refuse_config(error)


def refuse_config(error: ConfigError) -> NoReturn:
    """Every problem of the configuration on standard error, and out."""
    for line in error.lines():
        errors.print(line, markup=False)
    if _Output.wanted:
        tell_program({"error": str(error)})
    raise typer.Exit(EXIT_USAGE) from None


def trial_time(value: str | float) -> float:
    """Seconds of a trial, after which what was tried is undone."""
    try:
        seconds = parse_given(str(value))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not 5 <= seconds <= 3600:
        raise typer.BadParameter("a trial takes from 5 s to 1 h")
    return seconds


def show(data: Any, as_json: bool, human: Callable[[], None]) -> None:
    """Print `data` as JSON, or let `human` print it."""
    if as_json:
        write_json(data)
    else:
        human()


def write_json(data: Any) -> None:
    """The one document of a run with --json."""
    json.dump(data, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")
    _Output.written = True


def write_line(data: Any) -> None:
    """One of many objects of a run with --json, each on a line of its own."""
    sys.stdout.write(json.dumps(data, default=str) + "\n")
    sys.stdout.flush()
    _Output.written = True


def tell_program(data: Any) -> None:
    """Who said --json, unless there is a document already, which says the same."""
    if not _Output.written:
        write_json(data)
