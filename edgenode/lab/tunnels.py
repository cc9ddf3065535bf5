"""wireguard-go's control sockets: one directory for the whole machine, whatever the namespace.

So a socket is never known to be a lab's by its name alone: an operator may have a device that is
called as the lab's would be.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from edgenode.lab.errors import LabError
from edgenode.lab.names import RUN_ROOT, namespaces, tunnel_device
from edgenode.lab.netns import inside
from edgenode.lab.state import load

SOCKETS = Path("/run/wireguard")
DAEMON = "wireguard"
"""The name under which a lab's node runs its wireguard-go."""


def control_socket(device: str, root: Path = SOCKETS) -> Path:
    """Where wireguard-go takes its device's configuration."""
    return root / f"{device}.sock"


def answers(path: Path) -> bool:
    """Whether a process listens on a socket. That its file exists says little: wireguard-go binds
    it before it listens, and leaves it behind when it is killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            return True  # it has more callers than it takes just now
    return True


def devices(lab: str, root: Path = RUN_ROOT) -> set[str]:
    """The tunnel devices of which it is sure that they are this lab's: those in its namespaces
    now, and those of which it has written down that it started them."""
    found: set[str] = set()
    for node, namespace in namespaces(lab).items():
        # One that was never finished, or has gone in this moment, cannot be entered.
        with suppress(LabError, OSError), inside(namespace):
            present = {name for _, name in socket.if_nameindex()}
            found |= {tunnel_device(lab, node)} & present
    try:
        daemons = load(lab, root).daemons
    except LabError:
        return found
    return found | {tunnel_device(lab, node) for node, names in daemons.items() if DAEMON in names}


def remove_sockets(gone: set[str], root: Path = SOCKETS) -> None:
    """Remove what killed devices left, unless somebody has one of that name by now."""
    for path in (control_socket(device, root) for device in gone):
        if not answers(path):
            path.unlink(missing_ok=True)
