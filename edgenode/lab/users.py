"""What the lab's users see: one request, or a load that runs beside a scenario."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from edgenode.lab.errors import LabError
from edgenode.lab.http import BadReply, Reply, request, word
from edgenode.lab.netns import inside
from edgenode.lab.process import Command, spawn
from edgenode.lab.python import environment, module
from edgenode.lab.waiting import wait_until

Body = dict[str, Any]
Address = IPv4Address | IPv6Address | str


@dataclass(frozen=True)
class Request:
    """One request on a connection of its own; times are UNIX time.

    `error` is a word: refused, reset, unreachable, timeout, eof, "status 502", …
    """

    started: float
    connected: float | None
    finished: float
    ok: bool
    error: str | None
    body: Body | None

    @property
    def connect_ms(self) -> float | None:
        """How long the connection took, in milliseconds."""
        return None if self.connected is None else (self.connected - self.started) * 1000

    @property
    def total_ms(self) -> float:
        return (self.finished - self.started) * 1000


@dataclass(frozen=True)
class Held:
    """What became of a connection that was to be held. `lost` is None when it lasted.

    `first` and `last` are the first and last answers on it; `after` is what a new connection was
    answered right after the loss.
    """

    connection: int
    opened: float | None
    answered: int
    last_answer: float | None
    lost: str | None
    lost_at: float | None
    first: Body | None
    last: Body | None
    after: Body | None


def get(namespace: str, address: Address, port: int, path: str, timeout: float) -> Request:
    """One request from a namespace; failures are in the answer."""
    host = str(address)
    with inside(namespace):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
    started = time.time()
    connected, body, error = None, None, None
    with contextlib.closing(connection):
        connection.settimeout(timeout)
        try:
            connection.connect((host, port))
            connected = time.time()
            connection.sendall(request(host, path, keep=False))
            reply = Reply()
            complete = False
            while not complete:
                data = connection.recv(65536)
                if not data:
                    raise EOFError
                complete = reply.feed(data)
            body = reply.body()
        except (OSError, EOFError, BadReply) as failure:
            error = word(failure)
    return Request(started, connected, time.time(), error is None, error, body)


class Load:
    """A load generator (edgenode.lab.load) at work in a user's namespace."""

    def __init__(self, command: Command, output: Path, timeout: float) -> None:
        self.output = output
        self.timeout = timeout
        output.unlink(missing_ok=True)
        self.process = spawn(command)
        wait_until(self._begun, 10, f"the load {command.mark} begins")

    def _begun(self) -> bool:
        if self.process.poll() is not None:
            raise LabError(f"a load ended at once, with status {self.process.returncode}")
        return bool(self.lines())

    def lines(self) -> list[dict[str, Any]]:
        """The complete lines that were written so far."""
        with contextlib.suppress(FileNotFoundError):
            text = self.output.read_text(encoding="utf-8")
            return [json.loads(line) for line in text.split("\n")[:-1]]
        return []

    def opened(self) -> int:
        """How many held connections have had their first answer."""
        return sum(line["event"] == "open" for line in self.lines())

    def requests(self) -> list[Request]:
        """The requests that have finished so far, by the time of their start."""
        found = [_make(Request, line) for line in self.lines() if line["event"] == "request"]
        return sorted(found, key=lambda r: r.started)

    def held(self) -> list[Held]:
        """The held connections that have ended (after `stop`: all), by their number."""
        found = [_make(Held, line) for line in self.lines() if line["event"] == "end"]
        return sorted(found, key=lambda h: h.connection)

    def stop(self) -> None:
        """No more requests; wait for the answers to those under way."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        self.wait()

    def wait(self, duration: float = 0.0) -> None:
        """Wait for the end of a load that was given `duration` seconds.

        Raises LabError when it failed, or does not end.
        """
        try:
            status = self.process.wait(duration + 2 * self.timeout + 5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise LabError(f"the load that writes {self.output} did not end") from None
        if status != 0:
            raise LabError(f"the load that writes {self.output} failed with status {status}")


def _make(kind: type[Any], line: dict[str, Any]) -> Any:
    return kind(**{field.name: line[field.name] for field in fields(kind)})


def load_command(
    kind: str, target: str, output: Path, namespace: str, timeout: float, options: Iterable[str]
) -> Command:
    """How a load is started."""
    argv = module("edgenode.lab.load", kind, target, str(output), "--timeout", str(timeout))
    log = output.with_suffix(".log")
    return Command((*argv, *options), namespace, f"load/{output.stem}", log, environment())


def endpoint(address: Address, port: int) -> str:
    """ADDRESS:PORT, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


def next_success(requests: Iterable[Request], moment: float) -> Request | None:
    """The request that first succeeded among those begun after a moment: `finished - moment` is
    the outage that the user saw."""
    good = (r for r in requests if r.ok and r.started >= moment)
    return min(good, key=lambda r: r.finished, default=None)
