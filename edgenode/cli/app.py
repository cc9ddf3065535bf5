"""The tree of subcommands. Each imports its room when it is called: the command starts quickly."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgenode import __version__
from edgenode.cli import (
    apply,
    check,
    daemons,
    emergency,
    firewall,
    groups,
    history,
    lab,
    mesh,
    regions,
    render,
    software,
    status,
    system,
    top,
    trace,
    why,
    worker,
)
from edgenode.cli.options import DEFAULT_CONFIG, EXIT_USAGE, tell_program

app = typer.Typer(
    name="edgenode",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Turn a server into an **Anycast edge node**.

It announces prefixes by BGP through BIRD while the local proxies that need them are healthy,
withdraws them at once when they are not, and steers users' connections over WireGuard to the
nearest healthy region of workers.

Three daemons run on a node beside BIRD, each as a unit of its own:

* `edgenode lifeline` holds the device that all announcements hang on;
* `edgenode control` checks, decides and announces;
* `edgenode steering` holds the users' connections.

`edgenode exec-runner` runs the exec checks and hooks, as a user of its own.

Exit status: 0 done, 1 failed, 2 wrong usage or configuration (nothing was changed).
""",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgenode {__version__}")
        raise typer.Exit


@app.callback()
def edgenode(
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="EDGENODE_CONFIG",
            metavar="FILE",
            help=f"The node's configuration. [default: {DEFAULT_CONFIG}]",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version, and leave.", is_eager=True, callback=_version
        ),
    ] = False,
) -> None:
    """Options before the subcommand."""


daemons.add_to(app)
check.add_to(app)
render.add_to(app)
apply.add_to(app)
mesh.add_to(app)
firewall.add_to(app)
system.add_to(app)
software.add_to(app)
status.add_to(app)
why.add_to(app)
regions.add_to(app)
trace.add_to(app)
top.add_to(app)
history.add_to(app)
groups.add_to(app)
emergency.add_to(app)
worker.add_to(app)
app.add_typer(lab.app, name="lab")


def run() -> None:
    """Run the command."""
    # Broken pipes (`edgenode status | head`) are no error worth a traceback.
    try:
        app()
    except SystemExit as end:
        if end.code == EXIT_USAGE and sys.argv[1:2] != ["lab"] and "--json" in sys.argv:
            tell_program({"error": "wrong usage, as standard error says: nothing was done"})
        raise
    except BrokenPipeError:
        os._exit(141)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        # What was to be done is done before it is told.
        os.write(2, f"edgenode: the output could not be written: {error.strerror}\n".encode())
        os._exit(1)
