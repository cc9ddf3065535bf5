"""A look at the node, as the gate needs it: systemd, the network cards, control."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgenode import places
from edgenode.system.gate import UNITS, Seen

_SYSTEMCTL_TIMEOUT = 20.0
_CARDS = Path("/sys/class/net")


def look(run_dir: Path) -> Seen:
    """Never raises: what does not answer is not there."""
    return Seen(_units(), _cards(), control_status(run_dir))


def control_status(run_dir: Path) -> Mapping[str, Any] | None:
    """None: it does not answer."""
    from edgenode.api.client import ApiError, ControlAway, call

    with contextlib.suppress(ApiError, ControlAway):
        answer: dict[str, Any] = call(places.control_socket(run_dir), "GET", "/v1/status")
        return answer
    return None


def _units() -> dict[str, str]:
    command = ("systemctl", "show", "-p", "Id,ActiveState,InvocationID,NRestarts", *UNITS)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SYSTEMCTL_TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return active(done.stdout)


def active(shown: str) -> dict[str, str]:
    """Of `systemctl show`'s blocks: the units that are active, and which start of each. Pure."""
    found = {}
    for block in shown.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("ActiveState") == "active" and "Id" in values:
            found[values["Id"]] = f"{values.get('InvocationID')} {values.get('NRestarts', '')}"
    return found


def _cards() -> tuple[str, ...]:
    found = []
    with contextlib.suppress(OSError):
        for each in sorted(_CARDS.iterdir()):
            if (each / "device").exists():
                with contextlib.suppress(OSError):
                    found.append((each / "address").read_text().strip())
    return tuple(found)
