"""ICMP and ICMPv6 echoes through one device and from one address: icmp(7)'s datagram sockets.

They need no capability: sysctl net.ipv4.ping_group_range says who may have them, for IPv6 too. One
socket a family serves all paths; echoes are told apart by their sequence number, their content and
who answers. Nothing is fragmented, and no path MTU that the kernel has learned is heeded.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

from edgenode.config.values import Address
from edgenode.steering.table import Bind

IP_MTU_DISCOVER = 10
IPV6_MTU_DISCOVER = 23
PMTUDISC_PROBE = 3
"""ip(7): set DF, and ignore the path MTU. So a lowered MTU of a route does not matter here."""
IPV6_DONTFRAG = 62
SO_TIMESTAMPNS = 35
"""socket(7), linux/socket.h: when an answer came, however late we look."""

ECHO_REQUEST = {4: 8, 6: 128}
ECHO_REPLY = {4: 0, 6: 129}
HEADERS = {4: 20 + 8, 6: 40 + 8}
"""Bytes of IP and ICMP before the content (RFC 792, RFC 4443)."""
TOKEN = struct.Struct("!Q")
RECEIVE_BUFFER = 1 << 20
BATCH = 4096
"""Answers that are taken at once; a search on each of 200 paths has 3,400."""

NO_WAY = frozenset({errno.ENOKEY, errno.EDESTADDRREQ})
"""Errors that tell of the path: WireGuard has nobody to send to. So an echo was lost."""
GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL, errno.ENETDOWN})
"""The device was made anew, or has lost its address: the sockets are of no use any more."""


class EchoError(Exception):
    """No echo can be sent, by no fault of the path: what was tried, what to do."""

    def __init__(self, text: str, gone: bool = False) -> None:
        """`gone`: the sockets are of no use any more."""
        super().__init__(text)
        self.gone = gone


class Echoes:
    """`on_answer(number, seconds)` gets the number that `send` gave, and the round-trip time."""

    def __init__(self, bind: Bind, on_answer: Callable[[int, float], None]) -> None:
        """The sockets are made in the calling thread's network namespace. Raises EchoError."""
        self._on_answer = on_answer
        self._secret = secrets.randbits(48) << 16
        self._number = 0
        self._sent: dict[int, tuple[Address, float]] = {}
        """By sequence number, which is used anew after 65,536 echoes."""
        self._sockets: dict[int, socket.socket] = {}
        self._loop = asyncio.get_running_loop()
        try:
            for version, own in ((4, bind.ipv4), (6, bind.ipv6)):
                if own is not None:
                    self._sockets[version] = _open(version, own, bind.device)
        except OSError as error:
            self.close()
            raise EchoError(_why(error, bind)) from None
        for version, sock in self._sockets.items():
            self._loop.add_reader(sock, self._read, version, sock)

    def close(self) -> None:
        """No answer is told any more."""
        for sock in self._sockets.values():
            self._loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def send(self, address: Address, size: int) -> int:
        """An echo of `size` bytes with the IP header. Its number.

        Raises EchoError when this node cannot send: that says nothing about the path.
        """
        self._number = (self._number + 1) & 0xFFFF
        number, version = self._number, address.version
        content = TOKEN.pack(self._secret | number)
        head = struct.pack("!BBHHH", ECHO_REQUEST[version], 0, 0, 0, number)
        padding = bytes(size - HEADERS[version] - len(content))
        self._sent[number] = (address, time.monotonic())
        try:
            self._sockets[version].sendto(head + content + padding, (str(address), 0))
        except OSError as error:
            if error.errno not in NO_WAY:
                self._sent.pop(number, None)
                raise EchoError(
                    f"cannot send an echo of {size} bytes to {address}: "
                    f"{os.strerror(error.errno or 0)}",
                    gone=error.errno in GONE,
                ) from None
        return number

    def drain(self) -> None:
        """Take all answers that have come: before it is said that some have not."""
        for version, sock in self._sockets.items():
            self._read(version, sock)

    def _read(self, version: int, sock: socket.socket) -> None:
        for _ in range(BATCH):  # whoever floods us keeps nothing else waiting
            try:
                data, extra, _, source = sock.recvmsg(65535, 128)
            except OSError:
                return  # no more; or an ICMP error, which anybody can send
            late = _lateness(extra)
            number = self._accept(version, data, source[0])
            if number is not None:
                _, sent_at = self._sent.pop(number)
                self._on_answer(number, max(0.0, time.monotonic() - sent_at - late))

    def _accept(self, version: int, data: bytes, source: str) -> int | None:
        """The number of the echo that is answered by this, when it is one of ours."""
        if len(data) < 8 + TOKEN.size or data[0] != ECHO_REPLY[version]:
            return None
        (number,) = struct.unpack_from("!H", data, 6)
        (token,) = TOKEN.unpack_from(data, 8)
        sent = self._sent.get(number)
        with suppress(ValueError):
            if sent and token == self._secret | number and ip_address(source) == sent[0]:
                return int(number)
        return None


def _open(version: int, own: str, device: str | None) -> socket.socket:
    """Raises OSError."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, protocol)
    try:
        if device is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if version == 4:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind((own, 0))
    except OSError:
        sock.close()
        raise
    return sock


def _lateness(extra: list[tuple[int, int, bytes]]) -> float:
    """Seconds since the kernel had the packet, which our loop was busy for."""
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS) and len(data) >= 16:
            seconds, nanoseconds = struct.unpack_from("@qq", data)
            at: float = seconds + nanoseconds / 1e9
            return max(0.0, time.time() - at)
    return 0.0


def _why(error: OSError, bind: Bind) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            "paths are not measured, since this node's user may not open ICMP sockets: set "
            'net.ipv4.ping_group_range = "0 2147483647" (sysctl)'
        )
    own = " and ".join(filter(None, (bind.ipv4, bind.ipv6)))
    return f"cannot send echoes from {own} on {bind.device}: {os.strerror(error.errno or 0)}"
