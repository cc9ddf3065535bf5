"""What BIRD's program says of a configuration, with no BIRD that runs: ``bird -p``."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgenode.bgp.client import Version
from edgenode.bgp.render import include_file, render, render_secrets, secrets_file
from edgenode.config import Config

TIMEOUT = 30.0
"""Seconds that BIRD may take to parse."""

# BIRD 3 logs it: "bird: 2026-11-24 12:09:49.631 [0001] <FATAL> ..."
_PREAMBLE = re.compile(r"^(?:bird: )?(?:\S+ \S+ \[\d+\] <\w+> )?")
_VERSION = re.compile(r"BIRD version (\d+)\.(\d+)(?:\.(\d+))?")


def program() -> Path | None:
    """Where BIRD's program is, if it is installed: an operator's PATH may lack sbin."""
    found = shutil.which("bird") or shutil.which("bird", path="/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


def installed_version(bird: Path | None) -> Version | None:
    """The version of a program; None where it does not say."""
    done = _run(bird, "--version") if bird else None
    match = _VERSION.search(done.stdout + done.stderr) if done else None
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def refusal(
    config: Config, passwords: Mapping[str, str], includes: Sequence[str], bird: Path
) -> str | None:
    """Why BIRD's parser refuses what would be rendered, as a sentence; None: it does not.

    A password that is not in `passwords` is parsed as some other one. Nothing is left behind.
    """
    known = {n.name: passwords.get(n.name, "x") for n in config.bgp.neighbors}
    with tempfile.TemporaryDirectory(prefix="edgenode-") as directory:  # mode 0700
        path = Path(directory) / config.bgp.config.name
        path.write_text(render(config, {}, version=installed_version(bird)))
        if any(neighbor.password_file for neighbor in config.bgp.neighbors):
            secrets_file(path).write_text(render_secrets(config, known))
        for position, text in enumerate(includes):
            include_file(path, position).write_text(text)
        done = _run(bird, "-p", "-c", str(path))
        # A BIRD that could not even be asked says nothing of our text.
        if done is None or done.returncode == 0 or directory not in done.stderr:
            return None
        last = done.stderr.strip().splitlines()[-1]  # before it there may be warnings
        return f"BIRD refuses it: {explain(last, config, path)}"


def explain(said: str, config: Config, path: Path) -> str:
    """BIRD's words about our copies at `path`, as words about the files that they come from."""
    for position, source in enumerate(config.bgp.include):
        copy = include_file(path, position)
        said = said.replace(str(copy), str(source)).replace(copy.name, str(source))
    said = _PREAMBLE.sub("", said)
    return said.replace(str(path), f"{config.bgp.config.name} (rendered)")


def _run(bird: Path, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            [str(bird), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
