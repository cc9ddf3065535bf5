"""The end of a relay worker whose supervisor has ended.

A healthy one finds the end of its channel, resets its connections and exits. One that hangs would
keep its listeners, and the kernel would go on to send it users. SIGKILL on the parent's end would
not do: the kernel would close a healthy one's connections with FIN, and a cut answer would look
complete. So a stopped process is woken, and one that then does not exit by itself kills itself.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import threading
import time

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GRACE = 2.0  # seconds to reset the connections and exit


def end_with(parent: int) -> bool:
    """Never outlive the parent process for long; False if it has ended already. Raises OSError."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        return False
    pidfd = os.pidfd_open(parent)
    threading.Thread(target=_watch, args=(pidfd,), daemon=True).start()
    return True


def _watch(pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    time.sleep(_GRACE)
    os.kill(os.getpid(), signal.SIGKILL)
