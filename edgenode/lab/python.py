"""How the lab starts Python processes of this very project."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import edgenode

_ROOT = str(Path(edgenode.__file__).resolve().parent.parent)


def module(name: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module with this interpreter."""
    return (sys.executable, "-m", name, *arguments)


def environment() -> dict[str, str]:
    """What such a process needs in its environment: the project that the lab itself runs from,
    installed or not."""
    path = os.environ.get("PYTHONPATH", "")
    parts = [_ROOT, *(part for part in path.split(os.pathsep) if part and part != _ROOT)]
    return {"PYTHONPATH": os.pathsep.join(parts), "PYTHONUNBUFFERED": "1"}
