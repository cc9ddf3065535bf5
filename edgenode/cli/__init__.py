"""The `edgenode` command."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Entry point of the console script."""
    arguments = lifeline_arguments(sys.argv[1:])
    if arguments is None:
        try:
            # A tenth of a start was spent in looking for garbage among what is there for good.
            gc.disable()
            from edgenode.cli.app import run

            gc.freeze()
            gc.enable()
            run()
        except KeyboardInterrupt:  # while the libraries are loaded, too
            sys.exit(130)
    else:
        # The lifeline must stay tiny: none of the command's libraries are loaded into it.
        from edgenode.lifeline.hold import main as lifeline

        sys.exit(lifeline(arguments))


def lifeline_arguments(arguments: list[str]) -> list[str] | None:
    """What `edgenode lifeline` was given, with the options before the subcommand; else None."""
    if {"-h", "--help"} & set(arguments):
        return None
    position = 0
    while position < len(arguments) and arguments[position].startswith("--config"):
        position += 1 if "=" in arguments[position] else 2
    if arguments[position : position + 1] != ["lifeline"]:
        return None
    return arguments[:position] + arguments[position + 1 :]
