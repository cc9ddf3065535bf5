"""The lab's own delay line: `python -m edgenode.lab.link SOCKET < LINKS`.

For kernels without netem. One process holds both ends of every link: a TUN device in each of two
namespaces, and between them a queue for each direction, in which a packet waits for its time.
The devices are not persistent: they go when this process goes.

LINKS is JSON on standard input: [{"name": …, "delay": seconds one way,
"ends": [[namespace, device], [namespace, device]]}, …]. The Unix socket SOCKET listens once the
devices are there, and takes requests as lines of JSON:

    {"op": "cut", "link": NAME}                   drop everything, silently
    {"op": "heal", "link": NAME}
    {"op": "delay", "link": NAME, "seconds": S}   one way; packets under way keep their order
    {"op": "status"}                              counters of each link

Answers: {"ok": true, …} or {"ok": false, "error": …}. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from typing import Any

from edgenode.lab.netns import inside

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
PR_SET_TIMERSLACK = 29

# Packets that one direction holds at most: 15 MB of full ones, the product of 0.1 s and 1.2 Gbit/s.
QUEUE = 10_000
# Packets read from one device before the others have their turn.
BURST = 64


class Direction:
    """One way of a link: what was read from `source` is written to `sink` after `delay`.

    Pure but for the descriptors: `put` and `due` take the time, so that the order and the bound
    can be tested without devices. Times are seconds of the monotonic clock.
    """

    __slots__ = ("bytes", "cut", "delay", "dropped", "last", "packets", "queue", "sink", "source")

    def __init__(self, source: int, sink: int, delay: float) -> None:
        self.source = source
        self.sink = sink
        self.delay = delay
        self.cut = False
        self.queue: deque[tuple[float, bytes]] = deque()
        self.last = 0.0
        self.packets = 0
        self.bytes = 0
        self.dropped = 0

    def put(self, now: float, packet: bytes) -> None:
        """Take a packet in; one too many is dropped (drop tail), and one on a cut link."""
        if self.cut or len(self.queue) >= QUEUE:
            self.dropped += 1
            return
        # A delay that shrank must not let this packet overtake those before it.
        self.last = max(self.last, now + self.delay)
        self.queue.append((self.last, packet))

    def take(self, now: float) -> bytes | None:
        """The next packet whose time has come."""
        if self.queue and self.queue[0][0] <= now:
            self.packets += 1
            packet = self.queue.popleft()[1]
            self.bytes += len(packet)
            return packet
        return None

    def set_cut(self, cut: bool) -> None:
        """Cutting also loses what is on the way."""
        self.cut = cut
        if cut:
            self.dropped += len(self.queue)
            self.queue.clear()

    def status(self) -> dict[str, int | float | bool]:
        return {
            "delay": self.delay,
            "cut": self.cut,
            "queued": len(self.queue),
            "packets": self.packets,
            "bytes": self.bytes,
            "dropped": self.dropped,
        }


def open_tun(namespace: str, device: str) -> int:
    """Make a TUN device in a namespace and return its descriptor, non-blocking. Raises OSError."""
    with inside(namespace):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        request = struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI)
        fcntl.ioctl(descriptor, TUNSETIFF, request)
    return descriptor


class Wire:
    """All links, and the loop that moves their packets."""

    def __init__(self, specification: list[dict[str, Any]], listener: socket.socket) -> None:
        self.links: dict[str, tuple[Direction, Direction]] = {}
        for link in specification:
            a, b = (open_tun(namespace, device) for namespace, device in link["ends"])
            delay = float(link["delay"])
            self.links[link["name"]] = (Direction(a, b, delay), Direction(b, a, delay))
        self.directions = [way for ways in self.links.values() for way in ways]
        self.by_source = {way.source: way for way in self.directions}
        self.listener = listener
        self.clients: dict[int, tuple[socket.socket, bytearray]] = {}

    def run(self) -> None:
        """Forward until the process ends."""
        while True:
            watched = [*self.by_source, self.listener.fileno(), *self.clients]
            # select(2) waits with microseconds, where epoll_wait(2) rounds to milliseconds.
            ready, _, _ = select.select(watched, (), (), self._pause())
            now = time.monotonic()
            for descriptor in ready:
                way = self.by_source.get(descriptor)
                if way is not None:
                    self._read(way, now)
                elif descriptor == self.listener.fileno():
                    self._accept()
                else:
                    self._serve(descriptor)
            self._deliver()

    def _pause(self) -> float | None:
        heads = [way.queue[0][0] for way in self.directions if way.queue]
        return max(0.0, min(heads) - time.monotonic()) if heads else None

    def _read(self, way: Direction, now: float) -> None:
        for _ in range(BURST):
            try:
                packet = os.read(way.source, 65536)
            except OSError:  # nothing left, or the device is down
                return
            way.put(now, packet)

    def _deliver(self) -> None:
        now = time.monotonic()
        for way in self.directions:
            while (packet := way.take(now)) is not None:
                try:
                    os.write(way.sink, packet)
                except OSError:  # the far end is down: as on a real wire, nobody is told
                    way.dropped += 1

    def _accept(self) -> None:
        client, _ = self.listener.accept()
        client.setblocking(False)
        self.clients[client.fileno()] = (client, bytearray())

    def _serve(self, descriptor: int) -> None:
        client, buffer = self.clients[descriptor]
        try:
            data = client.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            del self.clients[descriptor]
            client.close()
            return
        buffer += data
        while (end := buffer.find(b"\n")) >= 0:
            answer = self.answer(bytes(buffer[:end]))
            del buffer[: end + 1]
            with contextlib.suppress(OSError):
                client.send(json.dumps(answer).encode() + b"\n")

    def answer(self, line: bytes) -> dict[str, Any]:
        """Do what a request asks."""
        try:
            request = json.loads(line)
            if request["op"] == "status":
                ways = {name: [w.status() for w in both] for name, both in self.links.items()}
                return {"ok": True, "links": ways}
            for way in self.links[request["link"]]:
                if request["op"] == "delay":
                    way.delay = max(0.0, float(request["seconds"]))
                elif request["op"] in ("cut", "heal"):
                    way.set_cut(request["op"] == "cut")
                else:
                    return {"ok": False, "error": f"unknown op {request['op']!r}"}
        except (ValueError, KeyError, TypeError) as error:
            return {"ok": False, "error": f"bad request: {error!r}"}
        return {"ok": True}


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the lab's owner
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    with contextlib.suppress(OSError):
        # A packet's time is now, whatever else the machine has to do.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    wire = Wire(json.load(sys.stdin), listener)
    listener.bind(sys.argv[1])
    listener.listen()
    wire.run()


if __name__ == "__main__":
    main()
