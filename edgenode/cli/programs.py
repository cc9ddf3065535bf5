"""Whether the programs of exec checks and hooks are on this machine."""

from __future__ import annotations

import shutil

from edgenode.config import Config, ExecCheck
from edgenode.health.exec import PATH


def missing(config: Config) -> list[str]:
    """A sentence for each that is not. No more than a warning: exec-runner may see other files."""
    commands = [(f"checks[{c.name}]", c.command) for c in config.checks if isinstance(c, ExecCheck)]
    commands += [(f"hooks[{hook.name}]", hook.command) for hook in config.hooks]
    return [
        f"{key}.command: {command[0]} cannot be run on this machine: it is not there, or not "
        "executable"
        for key, command in commands
        if shutil.which(command[0], path=PATH) is None
    ]
