"""WireGuard keys of the lab's nodes, made beforehand so that every node knows the others'."""

from __future__ import annotations

import os
from pathlib import Path

from edgenode.lab.netns import run


def make(path: Path) -> str:
    """Make a private key in `path` (0600) and return its public key. Raises LabError."""
    secret = run(["wg", "genkey"])
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret)
    return run(["wg", "pubkey"], text=secret).strip()
