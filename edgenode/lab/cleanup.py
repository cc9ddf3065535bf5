"""Everything of a lab, gone: processes, namespaces with their devices, sockets, files.

It needs nothing but the lab's name, so it works after a crash as well. Only processes inside
namespaces of exactly this lab are ended.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time

from edgenode.lab import tunnels
from edgenode.lab.errors import LabError
from edgenode.lab.names import RUN_ROOT, namespaces
from edgenode.lab.netns import pids, remove
from edgenode.lab.process import end


def leftovers(lab: str) -> bool:
    """Whether anything of a lab is there."""
    return bool(namespaces(lab) or (RUN_ROOT / lab).exists())


def clean(lab: str, timeout: float = 15.0) -> None:
    """Remove a lab.

    Raises LabError naming what would not go within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    devices = tunnels.devices(lab)  # now: a device goes with its process
    for name in namespaces(lab).values():
        # A process that was just being started may appear after a round: hence until none is left.
        # Not ourselves, whose thread an interrupt may have left in there.
        while found := [pid for pid in pids(name) if pid != os.getpid()]:
            stubborn = end(found, max(0.0, deadline - time.monotonic()), name)
            if stubborn and time.monotonic() >= deadline:
                raise LabError(f"processes {stubborn} in {name} do not end, even with SIGKILL")
    for name in namespaces(lab).values():
        remove(name)
    tunnels.remove_sockets(devices)
    shutil.rmtree(RUN_ROOT / lab, ignore_errors=True)
    with contextlib.suppress(OSError):
        RUN_ROOT.rmdir()
