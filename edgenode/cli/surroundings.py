"""Whether this machine has what a configuration names: programs, the access log's directory.

Neither is more than a warning: the processes that need them may see other files, or come later.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from edgenode.config import Config, ExecCheck
from edgenode.health.exec import PATH


def missing(config: Config) -> list[str]:
    """A sentence for each thing that is not as it should be."""
    log = config.steering.access_log.file
    trouble = _access_log(log) if config.services and log else None
    return [*_programs(config), *([f"steering.access_log.file: {trouble}"] if trouble else [])]


def _programs(config: Config) -> Iterator[str]:
    commands = [(f"checks[{c.name}]", c.command) for c in config.checks if isinstance(c, ExecCheck)]
    commands += [(f"hooks[{hook.name}]", hook.command) for hook in config.hooks]
    for key, command in commands:
        if shutil.which(command[0], path=PATH) is None:
            yield (
                f"{key}.command: {command[0]} cannot be run on this machine: it is not there, or "
                "not executable"
            )


def _access_log(path: Path) -> str | None:
    """Why nothing could be written there, as far as this user can tell."""
    try:
        if path.is_dir():
            return f"{path} is a directory: name a file in it"
        if not path.parent.is_dir():
            return (
                f"{path.parent} is no directory that is there: make it, and give it to the user of "
                "edgenode steering, which does not start without"
            )
        there = path.exists()
    except OSError as error:
        return f"{path} cannot be looked at: {error.strerror}"
    if not os.access(path if there else path.parent, os.W_OK):
        return (
            f"{path if there else path.parent} cannot be written by this user; edgenode steering, "
            "if it cannot either, does not start"
        )
    return None
