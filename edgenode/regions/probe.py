"""One look at a worker: a TCP connect that can only go through the mesh."""

from __future__ import annotations

import os
import socket
import struct

from edgenode.config import Endpoint
from edgenode.health import sockets
from edgenode.health.observation import Observation, ProbeFailedError, Success, observe
from edgenode.steering.table import Bind

IP_BIND_ADDRESS_NO_PORT = 24
"""ip(7): the port is chosen at connect, so that bound probes do not use up the port range."""

_TCPI_RTT = 68
"""Offset of `tcpi_rtt` (microseconds) in struct tcp_info, linux/tcp.h."""


async def probe(target: Endpoint, bind: Bind, limit: float) -> tuple[Observation, float | None]:
    """Connect, measure, close with RST: the result, and the round-trip time in seconds.

    The socket is bound to the mesh device *and* the node's mesh address: with the device alone
    the kernel would choose a source address as it likes. `limit` in seconds.
    Raises OSError where this process is at fault (out of descriptors, memory or ports).
    """
    rtt: float | None = None

    async def attempt() -> Success:
        nonlocal rtt
        with sockets.open_stream(target) as sock:
            far = _bind(sock, target, bind)
            await (sockets.connect_far if far else sockets.connect)(sock, target)
            rtt = _kernel_rtt(sock)
        return Success(f"{target} accepts connections")

    observation = await observe(attempt(), limit, f"connection to {target}")
    if not observation.ok:
        return observation, None
    # The kernel's figure leaves out the time that our event loop was busy with others.
    return observation, min(rtt or observation.duration, observation.duration)


def _bind(sock: socket.socket, target: Endpoint, bind: Bind) -> bool:
    """Whether it is bound to another address than the target's."""
    if bind.device is None:
        return False
    own = bind.ipv4 if target.host.version == 4 else bind.ipv6
    if own is None:
        raise ProbeFailedError(f"no IPv{target.host.version} mesh address to reach {target} from")
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, bind.device.encode())
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((own, 0))
    except OSError as error:
        # The relays cannot get there either: that is evidence, not a fault of this process.
        raise ProbeFailedError(
            f"cannot reach {target} from {own} on {bind.device}: {os.strerror(error.errno or 0)}"
        ) from None
    return own != target.address[0]


def _kernel_rtt(sock: socket.socket) -> float | None:
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCPI_RTT + 4)
    except OSError:
        return None
    microseconds: int = struct.unpack_from("=I", info, _TCPI_RTT)[0]
    return microseconds / 1e6 or None
