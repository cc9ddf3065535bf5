"""A real nginx of several workers on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from edgenode.config import Endpoint

WORKERS = 3

CONFIGURATION = """
daemon off;
user root;
worker_processes {workers};
pid {directory}/pid;
error_log {directory}/error.log info;
events {{ worker_connections 256; }}
http {{
  access_log {directory}/access.log;
  client_body_temp_path {directory}/tmp; proxy_temp_path {directory}/tmp;
  fastcgi_temp_path {directory}/tmp; scgi_temp_path {directory}/tmp;
  uwsgi_temp_path {directory}/tmp;
  client_header_timeout {header_timeout};
  {http}
  server {{
    listen {listen}{options};
    location /health {{ return 200 "ok\\n"; }}
    location /broken {{ return 503; }}
  }}
}}
"""


def free_port() -> int:
    """Below the ephemeral range, so that nobody is given it by chance."""
    for port in range(20000 + os.getpid() % 5000, 30000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


class Nginx:
    """A master and its workers, which can be killed one by one."""

    def __init__(
        self, directory: Path, *, header_timeout: str = "60s", options: str = "", http: str = ""
    ) -> None:
        """`http` is more of nginx's configuration, in that block."""
        self.directory = directory
        self.endpoint = Endpoint(ip_address("127.0.0.1"), free_port())
        (directory / "nginx.conf").write_text(
            CONFIGURATION.format(
                workers=WORKERS,
                directory=directory,
                header_timeout=header_timeout,
                listen=self.endpoint,
                options=options and f" {options}",
                http=http,
            )
        )
        self.start()

    def start(self) -> None:
        command = ["nginx", "-p", str(self.directory), "-c", str(self.directory / "nginx.conf")]
        # A session of its own, by which its processes are known whatever becomes of the master.
        self.master = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        for _ in range(300):
            if len(self.workers()) == WORKERS and self._listens():
                return
            time.sleep(0.01)
        raise AssertionError((self.directory / "error.log").read_text())

    def processes(self) -> list[int]:
        """The pids of all of them, zombies left out."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    state, _, _, session = (
                        (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                    )
                    if int(session) == self.master.pid and state not in "ZX":
                        found.append(int(entry.name))
        return found

    def workers(self) -> list[int]:
        """The workers' pids, those of older generations included."""
        return [pid for pid in self.processes() if pid != self.master.pid]

    def signal_all(self, number: signal.Signals, *, master_first: bool = True) -> None:
        pids = sorted(self.processes(), key=lambda pid: (pid == self.master.pid) != master_first)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill_all(self, *, master_first: bool = True) -> None:
        """SIGKILL, until none is left: a master starts new workers for those that die first."""
        while self.processes():
            self.signal_all(signal.SIGKILL, master_first=master_first)

    def log(self, name: str) -> list[str]:
        file = self.directory / name
        return file.read_text().splitlines() if file.exists() else []

    def stop(self) -> None:
        self.kill_all()
        self.master.wait()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((str(self.endpoint.host), self.endpoint.port)) == 0


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Callable[..., Nginx]]:
    """Starts an Nginx with these arguments."""
    started: list[Nginx] = []

    def start(**options: str) -> Nginx:
        directory = tmp_path / str(len(started))
        (directory / "tmp").mkdir(parents=True)
        started.append(Nginx(directory, **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()
