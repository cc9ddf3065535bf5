"""The TUN device: there as long as its descriptor is open, gone in the moment it is closed.

``Documentation/networking/tuntap.rst`` of Linux; the numbers are those of ``linux/if_tun.h`` and
``linux/sockios.h`` on x86 and ARM.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct

_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


class TunError(Exception):
    """The device cannot be made; the text is a sentence for the operator."""


def create(name: str, *, up: bool = True) -> int:
    """Make the device, which BIRD takes for the way to our prefixes once it is up.

    Gives the descriptor (non-blocking, closed on exec). Raises TunError.
    """
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise TunError(
            f"/dev/net/tun cannot be opened ({error.strerror}): "
            "load the module tun, and let this process have the device"
        ) from None
    try:
        flags = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(descriptor, _TUNSETIFF, flags)
        # If someone made it persistent before us it would outlive us, and so would the routes.
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 0)
        if up:
            _silence(name)
            _set_up(name)
    except OSError as error:
        os.close(descriptor)
        hint = {
            errno.EPERM: "run as root (CAP_NET_ADMIN)",
            errno.EBUSY: "another process holds it, or it is no TUN device",
        }.get(error.errno or 0, "see lifeline.device")
        raise TunError(f"device {name} cannot be made ({error.strerror}): {hint}") from None
    return descriptor


PACKETS = 64
"""That are thrown away at a time: whoever floods the device must not keep its holder from the
heartbeats."""


def drain(descriptor: int) -> bool:
    """Throw away what the kernel sent into the device; False: the device is gone."""
    try:
        for _ in range(PACKETS):
            os.read(descriptor, 65536)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


def _set_up(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH22x", name.encode(), 0)
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("H", answer, 16)
        request = struct.pack("16sH22x", name.encode(), flags | _IFF_UP)
        fcntl.ioctl(control, _SIOCSIFFLAGS, request)


def _silence(name: str) -> None:
    """No link-local address, no router solicitations: nobody is at the other end."""
    for setting, value in (("addr_gen_mode", "1"), ("accept_ra", "0")):
        with (
            contextlib.suppress(OSError),  # no IPv6, or /proc/sys is read-only: only noise
            open(f"/proc/sys/net/ipv6/conf/{name}/{setting}", "w", encoding="ascii") as file,
        ):
            file.write(value)
