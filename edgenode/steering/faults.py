"""What the error numbers of system calls mean to steering."""

from __future__ import annotations

import errno

from edgenode.steering.outliers import Failure

NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC})
"""The node itself has run out of descriptors or memory: nobody else is to blame.

ENOSPC is of epoll_ctl(2): more descriptors are watched than fs.epoll.max_user_watches.
"""

NO_PORT = errno.EADDRNOTAVAIL
"""connect(2): no local port is free towards this address and port."""

GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})
"""The other end has closed."""


def kind(number: int) -> Failure:
    """What a failed attempt to connect tells of the target."""
    if number in (errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE):
        return Failure.REFUSED
    return Failure.TIMEOUT if number == errno.ETIMEDOUT else Failure.UNREACHABLE
