"""`edgenode steering` as a process, and control's end of its socket by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from edgenode.places import steering_socket, steering_table
from edgenode.steering.link import SteeringLink
from edgenode.steering.table import Bind, RegionTargets, Service, Table, Target
from tests.unit.steering.running import PATIENCE, USER, eventually

MAIN = """
import sys
from pathlib import Path
from edgenode.steering.supervisor import main
run, state, workers, log, drain, *before = sys.argv[1:]
for source in before:
    exec(source)
sys.exit(main(Path(run), Path(state), int(workers), 1000, Path(log), float(drain)))
"""


class Steering:
    """One that can be killed and started again in the same directories."""

    def __init__(
        self,
        directory: Path,
        workers: int = 1,
        drain: float = 0.0,
        files: int | None = None,
        before: str = "",
    ) -> None:
        """`before`: what its process does first."""
        self.run_dir, self.state_dir = directory / "run", directory / "state"
        self.log = directory / "access.log"
        self.socket = steering_socket(self.run_dir)
        self.table = steering_table(self.state_dir)
        self._files = files  # the hard limit of open files
        self._arguments = [str(workers), str(self.log), str(drain), before]
        self.processes: list[subprocess.Popen[str]] = []
        for made in (self.socket, self.table):
            made.parent.mkdir(parents=True)

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", MAIN, str(self.run_dir), str(self.state_dir)]
        limit = ["prlimit", f"--nofile={self._files}"] if self._files else []
        process = subprocess.Popen(
            [*limit, *command, *self._arguments],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    @property
    def process(self) -> subprocess.Popen[str]:
        return self.processes[-1]

    def kill(self) -> None:
        """SIGKILL, and wait until its relay workers have gone too."""
        relays = self.relays()
        self.process.kill()
        self.process.wait(PATIENCE)
        eventually(lambda: not any(alive(pid) for pid in relays))

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def saved(self, revision: int) -> None:
        """Wait until the table is what a restart would bring."""

        def there() -> bool:
            try:
                value: dict[str, object] = json.loads(self.table.read_text())
            except FileNotFoundError:
                return False
            return value["revision"] == revision

        eventually(there, f"table {revision} is not saved")

    def relays(self) -> list[int]:
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return [int(pid) for pid in Path(path).read_text().split()]

    def control(self) -> Control:
        return Control(self.socket)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE)
            if process.stderr is not None:
                process.stderr.close()


def alive(pid: int) -> bool:
    """Whether the process has not ended yet (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Control:
    """Sends tables, reads what comes back."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)

        def connected() -> bool:
            try:
                self._socket.connect(str(path))
            except OSError:
                return False
            return True

        eventually(connected, "steering does not listen")
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def send(self, message: object) -> None:
        self.send_line(json.dumps(message).encode())

    def send_line(self, line: bytes) -> None:
        self._socket.sendall(line + b"\n")

    def publish(self, table: Table) -> dict[str, Any]:
        """Send a table, return the answer."""
        self.send({"type": "table", "table": table.to_json()})
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next message that is no report."""
        while True:
            message = self.receive()
            if message["type"] != "report":
                return message

    def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._lines.readline())
        return message

    def report(self) -> dict[str, Any]:
        self.send({"type": "status"})
        while (message := self.receive())["type"] != "report":
            pass
        return message


class Address:
    """An address that stays free for steering until the test ends: bound, but not listening."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind((host, 0))
        self.host, self.port = self._socket.getsockname()[:2]

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def connect(self) -> socket.socket:
        source = None if ":" in self.host else (USER, 0)
        return socket.create_connection((self.host, self.port), PATIENCE, source)

    def close(self) -> None:
        self._socket.close()


def table(revision: int, *addresses: Address, targets: tuple[Target, ...] = ()) -> Table:
    """A table with one service, in one region."""
    regions = (RegionTargets("fra", targets),)
    listen = tuple(str(address) for address in addresses)
    service = Service("web", listen, "v2", 1.0, 60.0, regions)
    return Table(revision, "lon1", Bind(), (service,))


def ask(address: Address, question: bytes = b"x") -> bytes:
    """One connection: a question, and all of the answer."""
    with address.connect() as user:
        user.sendall(question)
        user.shutdown(socket.SHUT_WR)
        answer = b""
        while data := user.recv(65536):
            answer += data
    return answer


@contextlib.asynccontextmanager
async def linked(path: Path) -> AsyncIterator[SteeringLink]:
    """Control's own end of the socket, at work."""
    link = SteeringLink(path)
    task = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
