"""Requests on a schedule, whatever the answers do: `python -m tests.bench.openloop`.

Each is sent when it is due, on a connection that waits for nothing, or else on another one; its
latency counts from when it was *due*, so that neither a stalled proxy nor a late generator hides
anything ("coordinated omission"). One in `--new-every` opens a connection of its own and closes it.

Prints one JSON object: latencies in microseconds, and how late the sending itself was.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import random
import select
import socket
import sys
import time
from collections import deque

from tests.bench.speakers import PRIORITY

_PATIENCE = 5.0  # seconds for the last answers
_START = 0.05
_PR_SET_TIMERSLACK = 29  # linux/prctl.h; else each wait may take 50 µs longer


class Failed(Exception):
    """An answer was wrong, or did not come."""


class Talk:
    """One connection and the request on it."""

    __slots__ = ("due", "fd", "got", "new", "socket")

    def __init__(self, connection: socket.socket, new: bool) -> None:
        self.socket = connection
        self.fd = connection.fileno()
        self.new = new
        self.due = 0.0
        self.got = b""


class Generator:
    """`body` is what each answer must have."""

    def __init__(self, address: tuple[str, int], body: bytes) -> None:
        self.requests: list[float] = []
        """Latencies on connections that stood already, in seconds."""
        self.connections: list[float] = []
        """Those on new ones, the connecting included."""
        self.late: list[float] = []
        """How late each was sent."""
        self.extra = 0
        """Connections opened beyond those that stood, since all of these were busy."""
        self._address = address
        self._body = body
        self._epoll = select.epoll()
        self._talks: dict[int, Talk] = {}
        self._free: deque[Talk] = deque()
        self._waiting = 0
        host = f"Host: {address[0]}\r\n"
        self._request = f"GET / HTTP/1.1\r\n{host}\r\n".encode()
        self._last_request = f"GET / HTTP/1.1\r\n{host}Connection: close\r\n\r\n".encode()

    def open(self, count: int) -> None:
        """Connections that stand; each has had its first answer. Raises Failed and OSError."""
        for _ in range(count):
            connection = socket.create_connection(self._address, _PATIENCE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(self._request)
            answer = b""
            while not self._whole(answer):
                data = connection.recv(65536)
                if not data:
                    raise Failed("closed before its answer was whole")
                answer += data
            connection.setblocking(False)
            talk = Talk(connection, new=False)
            self._talks[talk.fd] = talk
            self._free.append(talk)
            self._epoll.register(talk.fd, select.EPOLLIN)

    def run(self, rate: float, seconds: float, new_every: int) -> None:
        """Keep the schedule, then wait for the answers. Raises Failed and OSError."""
        # Spread like chance, and alike in each run.
        chance = random.Random(1)
        count = int(rate * seconds)
        begin = time.monotonic() + _START
        schedule = [begin + (number + chance.random()) / rate for number in range(count)]
        epoll, clock = self._epoll, time.monotonic
        fds = [epoll.fileno()]
        number = 0
        while number < count or self._waiting:
            now = clock()
            while number < count and schedule[number] <= now:
                number += 1
                self._send(schedule[number - 1], new_every > 0 and number % new_every == 0)
                now = clock()
            until = schedule[number] if number < count else schedule[-1] + _PATIENCE
            if number == count and now >= until:
                raise Failed(f"{self._waiting} answers of {count} did not come")
            # epoll_wait(2) would round to milliseconds.
            if select.select(fds, (), (), max(0.0, until - now))[0]:
                for fd, _ in epoll.poll(0):
                    self._on_event(self._talks[fd])

    def _send(self, due: float, new: bool) -> None:
        self._waiting += 1
        if new:
            self._connect(due, self._last_request, new=True)
        elif self._free:
            talk = self._free.popleft()
            talk.due = due
            talk.socket.send(self._request)
        else:
            self.extra += 1
            self._connect(due, self._request, new=False)
        self.late.append(time.monotonic() - due)

    def _connect(self, due: float, request: bytes, new: bool) -> None:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        connection.connect_ex(self._address)
        talk = Talk(connection, new)
        talk.due = due
        events = select.EPOLLIN
        try:
            connection.send(request)
        except BlockingIOError:
            events |= select.EPOLLOUT  # it is sent when the connection stands
        self._talks[talk.fd] = talk
        self._epoll.register(talk.fd, events)

    def _on_event(self, talk: Talk) -> None:
        try:
            data = talk.socket.recv(65536)
        except BlockingIOError:  # it stands
            talk.socket.send(self._last_request if talk.new else self._request)
            self._epoll.modify(talk.fd, select.EPOLLIN)
            return
        if not data:
            if not talk.new or talk.due:
                raise Failed("closed before its answer was whole")
            del self._talks[talk.fd]
            talk.socket.close()
            self._waiting -= 1
            return
        talk.got += data
        if not self._whole(talk.got):
            return
        (self.connections if talk.new else self.requests).append(time.monotonic() - talk.due)
        talk.due, talk.got = 0.0, b""
        if not talk.new:  # else its end is waited for
            self._free.append(talk)
            self._waiting -= 1

    def _whole(self, answer: bytes) -> bool:
        """Whether the answer is complete. Raises Failed if it is not the right one."""
        head, _, body = answer.partition(b"\r\n\r\n")
        if len(body) < len(self._body):
            return False
        if body != self._body or not head.startswith(b"HTTP/1.1 200 "):
            raise Failed(f"a wrong answer: {answer!r}")
        return True


def quantiles(seconds: list[float]) -> dict[str, float]:
    """In microseconds."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    last = len(ordered) - 1
    at = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    found = {name: round(ordered[round(share * last)] * 1e6, 1) for name, share in at.items()}
    return {"count": len(ordered), **found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("body", help="of each answer, before its newline")
    parser.add_argument("--rate", type=float, default=1000.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=64, help="that stand from the start")
    parser.add_argument("--new-every", type=int, default=0, help="0: no new connections")
    options = parser.parse_args()
    with contextlib.suppress(OSError):  # it is to be on time; all peers gain alike
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY - 5)
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    generator = Generator((options.host, options.port), options.body.encode() + b"\n")
    try:
        generator.open(options.connections)
        gc.collect()
        gc.freeze()
        gc.disable()
        generator.run(options.rate, options.seconds, options.new_every)
    except (Failed, OSError) as error:
        print(f"openloop: {error}", file=sys.stderr)
        return 1
    print(
        json.dumps(
            {
                "all": quantiles(generator.requests + generator.connections),
                "requests": quantiles(generator.requests),
                "connections": quantiles(generator.connections),
                "late": quantiles(generator.late),
                "extra": generator.extra,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
