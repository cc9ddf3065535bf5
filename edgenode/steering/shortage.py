"""What this node itself runs out of, and how that is said: once a while, not for each connection.

Pure; times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

PERIOD = 60.0
"""Seconds between two lines about the same thing."""


class Shortage(StrEnum):
    CONNECTIONS = "connections"
    """Users wait in the queues, since there are as many connections as there may be."""
    DESCRIPTORS = "descriptors"
    MEMORY = "memory"
    """Of the kernel."""
    PORTS = "ports"
    """Towards a worker: its address and port have all been connected to from each of ours."""


_SENTENCES = {
    Shortage.CONNECTIONS: "%d times new users were left waiting in the queues: there were as many"
    " connections as steering.max_connections, or the limit of open files, allows. Raise them, or"
    " drain this node",
    Shortage.DESCRIPTORS: "%d times a connection could not be made or accepted for want of a file"
    " descriptor. Raise LimitNOFILE= of edgenode-steering.service, or fs.file-max",
    Shortage.MEMORY: "%d times a connection could not be made or accepted for want of kernel"
    " memory. See net.ipv4.tcp_mem, fs.epoll.max_user_watches, and MemoryMax= of"
    " edgenode-steering.service",
    Shortage.PORTS: "%d times a worker could not be dialed, since no local port was free towards"
    " its address, or the mesh address is not set: another was tried. Widen"
    " net.ipv4.ip_local_port_range, set net.ipv4.tcp_tw_reuse = 1, or take more workers",
}


def named(error: str) -> Shortage:
    """What an error's name says is missing, one of `faults.NO_ROOM` or of epoll_ctl(2)."""
    return Shortage.DESCRIPTORS if error in ("EMFILE", "ENFILE") else Shortage.MEMORY


class Teller:
    """Says what has run out since it was last said."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}
        self._next: dict[str, float] = {}

    def tell(self, totals: Mapping[str, int], now: float) -> list[str]:
        """Sentences about the totals that have grown."""
        sentences = []
        for shortage, sentence in _SENTENCES.items():
            more = totals.get(shortage, 0) - self._told.get(shortage, 0)
            if more > 0 and now >= self._next.get(shortage, now):
                self._told[shortage] = totals[shortage]
                self._next[shortage] = now + PERIOD
                sentences.append(sentence % more)
        return sentences
