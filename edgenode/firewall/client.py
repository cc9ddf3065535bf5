"""Whose SSH connection a command was typed on."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "SSH_CONNECTION"
_DEEPEST = 32


def ssh_client() -> str | None:
    """The address of the SSH client, from sshd's variable; None: not over SSH, as far as is known.

    sudo clears the environment: then a process above has the variable still.
    """
    if said := os.environ.get(VARIABLE):
        return said.split(" ")[0]
    process = os.getppid()
    for _ in range(_DEEPEST):
        if process <= 1:
            break
        try:
            environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            # The name, in parentheses, may hold anything: what counts is behind the last one.
            after = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2]
        except OSError:
            break
        for each in environment:
            name, _, value = each.decode(errors="replace").partition("=")
            if name == VARIABLE and value:
                return value.split(" ")[0]
        process = int(after.split()[1])
    return None
