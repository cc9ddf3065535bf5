"""The owner's end of the guard, the process that removes a lab whose owner died."""

from __future__ import annotations

import contextlib
import os
import subprocess

from edgenode.lab.lock import Lock
from edgenode.lab.python import environment, module

DONE = b"done\n"


class Guard:
    """A guard at work; see edgenode.lab.reaper."""

    def __init__(self, lock: Lock) -> None:
        argv = module("edgenode.lab.reaper", lock.name, str(os.getpid()), str(lock.descriptor))
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
