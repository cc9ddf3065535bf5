"""A real etcd of one member in a network namespace, to be broken in all the ways there are.

It dies with the tests, however those end (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgenode.lab import netns
from edgenode.lab.names import NETNS_ROOT
from edgenode.lab.waiting import wait_until

_numbers = itertools.count()
MEMORY = Path("/dev/shm")
PORT = 2379
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")


@dataclass
class EtcdServer:
    """At 127.0.0.1 of the namespace."""

    namespace: str
    directory: Path
    tls: tuple[str, ...] = ()
    """Options, and with them https."""
    client: tuple[str, ...] = ()
    """Options of etcdctl."""
    port: int = PORT
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        peer = f"http://127.0.0.1:{self.port + 1}"
        command = [
            *DIES_WITH_US,
            *("etcd", "--name", "one", "--data-dir", str(self.directory / "data")),
            *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"one={peer}", *self.tls),
        ]
        with netns.inside(self.namespace), (self.directory / "etcd.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(self.answers, 10, "etcd answers")

    def answers(self) -> bool:
        return self.ctl("endpoint", "health", check=False).returncode == 0

    def ctl(
        self, *arguments: str, check: bool = True, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """etcdctl, as the operator does it."""
        command = ["etcdctl", "--endpoints", self.url, *self.client, *arguments]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        with netns.inside(self.namespace):
            running = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        out, err = running.communicate(text, timeout=20)
        assert not check or running.returncode == 0, f"{command}: {err}"
        return subprocess.CompletedProcess(command, running.returncode, out, err)

    def put(self, key: str, value: str) -> None:
        self.ctl("put", "--", key, value)

    def revision(self) -> int:
        header = json.loads(self.ctl("get", "x", "-w", "json").stdout)["header"]
        return int(header["revision"])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def stand_still(self, still: bool) -> None:
        assert self.process
        self.process.send_signal(signal.SIGSTOP if still else signal.SIGCONT)


def sweep() -> None:
    """Remove what tests that were killed could not: namespaces and data bear their pid."""
    for left in (*NETNS_ROOT.glob("t-registry-*"), *MEMORY.glob("t-registry-*")):
        if not Path("/proc", left.name.split("-")[2]).exists():
            netns.remove(left.name)
            shutil.rmtree(MEMORY / left.name, ignore_errors=True)


@contextmanager
def namespace() -> Iterator[str]:
    sweep()
    name = f"t-registry-{os.getpid()}-{next(_numbers)}"
    netns.create(name)
    try:
        netns.configure(name, ["link set lo up"])
        yield name
    finally:
        netns.remove(name)


@contextmanager
def server(
    inside: str, directory: Path, tls: tuple[str, ...] = (), client: tuple[str, ...] = ()
) -> Iterator[EtcdServer]:
    """Its data lies in memory: a disk that is slow to sync would make it slow."""
    data = MEMORY / f"t-registry-{os.getpid()}-{inside}"
    data.mkdir()
    made = EtcdServer(inside, data, tls, client)
    try:
        made.start()
        yield made
    finally:
        made.kill()
        shutil.copy(data / "etcd.log", directory)
        shutil.rmtree(data)
