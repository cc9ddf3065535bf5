"""A new version in the background: whoever started it waits until it serves, or has failed.

So `systemctl reload` knows the outcome, and the process that it started may end.
"""

from __future__ import annotations

import os
from collections.abc import Callable

_DONE = b"+"


def detach() -> Callable[[], None]:
    """Go on in a child; what is returned is to be called there once it serves.

    The parent never returns: it ends with status 0 then, and with 1 if the child ends before. To be
    called while there is one thread. Raises OSError.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        done = os.read(reading, 1)
        os._exit(0 if done == _DONE else 1)
    os.close(reading)
    # Who waits for the end of the parent's output must not wait for ours; errors are the log.
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)

    def serves() -> None:
        os.write(writing, _DONE)
        os.close(writing)

    return serves
