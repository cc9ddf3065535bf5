"""Which edgenode a checkout would install on a plain host."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path


def release(project: Path) -> str:
    """``VERSION-DIGEST`` of a checkout.

    The digest is of the code and of its libraries' lock, so that two states of one version are
    never taken for the same. Raises OSError for a directory that is no checkout.
    """
    version = tomllib.loads((project / "pyproject.toml").read_text())["project"]["version"]
    digest = hashlib.sha256()
    code = (f for f in (project / "edgenode").rglob("*") if f.suffix in {".py", ".toml", ".typed"})
    for file in sorted([*code, project / "requirements/run.lock"]):
        digest.update(f"{file.relative_to(project)}\0".encode() + file.read_bytes() + b"\0")
    return f"{version}-{digest.hexdigest()[:10]}"
