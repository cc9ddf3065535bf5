"""The datagrams' way: a socket for each address of each sibling, in the mesh and nowhere else.

A socket is bound to the mesh device and to the node's own mesh address, and connected: the kernel
hands on what comes through the tunnel from that address and port, and nothing more. That it is
the sibling who speaks from there is WireGuard's word (its cryptokey routing): no other peer's
packets from that address are let in.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

from edgenode.config.values import Address
from edgenode.siblings.message import MAX_DATAGRAM, MAX_DATAGRAMS

MOST_AT_ONCE = 16
"""Datagrams that are read before others have their turn."""
MOST_A_ROUND = 4 * MAX_DATAGRAMS
"""Datagrams from one address that are read between two sendings; the kernel drops what is more.
A sibling that floods us costs no more than that, and costs the others nothing."""


@dataclass(frozen=True)
class Way:
    """From where to where."""

    device: str
    own: Address
    sibling: Address
    port: int


class Link:
    """One socket, opened by the first `send`, and anew when something is wrong with it."""

    def __init__(self, way: Way, on_datagram: Callable[[bytes], None]) -> None:
        self._way = way
        self._on_datagram = on_datagram
        self._socket: socket.socket | None = None
        self._index = 0
        self._left = MOST_A_ROUND
        self.problem = ""
        """Why nothing can be sent at present."""

    def send(self, datagrams: list[bytes]) -> None:
        """Send and go on reading. Never waits: what the kernel has no room for is lost."""
        try:
            sock = self._opened()
            for datagram in datagrams:
                _send(sock, datagram)
            self.problem = ""
        except OSError as error:
            self.problem = error.strerror or str(error)
            self.close()

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _opened(self) -> socket.socket:
        # A device that was made anew has another index, and a socket of the old one is deaf.
        try:
            index = socket.if_nametoindex(self._way.device)
        except OSError:
            raise OSError(f"the device {self._way.device} is not there") from None
        if index != self._index:
            self.close()
        if self._socket is None:
            self._socket = _open(self._way)
            self._index = index
        self._left = MOST_A_ROUND
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        return self._socket

    def _read(self) -> None:
        for _ in range(MOST_AT_ONCE):
            if self._socket is None:
                return
            if self._left == 0:
                asyncio.get_running_loop().remove_reader(self._socket)
                return
            try:
                datagram = self._socket.recv(MAX_DATAGRAM + 1)
            except BlockingIOError:
                return
            except OSError:
                continue  # that a datagram of ours was refused: the sibling has just no ear
            self._left -= 1
            self._on_datagram(datagram)


def _open(way: Way) -> socket.socket:
    family = socket.AF_INET if way.own.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # The sockets of all siblings share one address and port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, way.device.encode())
        sock.bind((str(way.own), way.port))
        sock.connect((str(way.sibling), way.port))
        _empty(sock)
    except OSError:
        sock.close()
        raise
    return sock


def _empty(sock: socket.socket) -> None:
    """Between `bind` and `connect` a datagram of somebody else may have come in."""
    with contextlib.suppress(OSError):
        for _ in range(MOST_A_ROUND):
            sock.recv(1)


def _send(sock: socket.socket, datagram: bytes) -> None:
    try:
        sock.send(datagram)
    except BlockingIOError:
        pass
    except ConnectionRefusedError:  # of an earlier one, told now
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            sock.send(datagram)
