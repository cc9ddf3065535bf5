"""The `edgenode` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["lifeline"] and not {"--help", "-h"} & set(arguments):
        # The lifeline must stay tiny: none of the command's libraries are loaded into it.
        from edgenode.lifeline.hold import main as lifeline

        sys.exit(lifeline(arguments[1:]))
    from edgenode.cli.app import run

    run()
