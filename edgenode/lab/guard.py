"""The process that removes a lab whose owner died: `python -m edgenode.lab.guard NAME PID LOCK`.

It watches the owner by pidfd and reads its standard input, a pipe from the owner: `done` means
that the owner has cleaned up by itself, or that the lab is to stay. LOCK is the descriptor of the
lab's lock, held until the guard ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys

from edgenode.lab.cleanup import clean
from edgenode.lab.lock import Lock, remove
from edgenode.lab.python import environment, module

DONE = b"done\n"


class Guard:
    """The owner's end."""

    def __init__(self, lock: Lock) -> None:
        argv = module("edgenode.lab.guard", lock.name, str(os.getpid()), str(lock.descriptor))
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=(lock.descriptor,),
            cwd="/",
            env={**os.environ, **environment()},
            start_new_session=True,
        )

    def stand_down(self) -> None:
        """Tell the guard that there is nothing for it to do, and wait for its end."""
        with contextlib.suppress(BrokenPipeError):
            assert self.process.stdin is not None
            self.process.stdin.write(DONE)
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


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
