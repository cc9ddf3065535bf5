"""The process that removes a lab whose owner died: `python -m edgenode.lab.reaper NAME PID LOCK`.

It watches the owner by pidfd and reads its standard input, a pipe from the owner: `done` means
that the owner has cleaned up by itself, or that the lab is to stay. LOCK is the descriptor of the
lab's lock, held until this process ends.
"""

from __future__ import annotations

import os
import select
import signal
import sys

from edgenode.lab.cleanup import clean
from edgenode.lab.guard import DONE
from edgenode.lab.lock import Lock, remove


def main() -> None:
    name, owner = sys.argv[1], int(sys.argv[2])
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    try:
        watched = [os.pidfd_open(owner)]
    except ProcessLookupError:
        watched = []
    if os.getppid() != owner:
        watched = []  # it died before we looked: that pid is somebody else's
    if watched:
        select.select([0, *watched], (), ())
    if select.select([0], (), (), 0)[0] and os.read(0, len(DONE)) == DONE:
        return
    clean(name)
    remove(Lock(name).path)


if __name__ == "__main__":
    main()
