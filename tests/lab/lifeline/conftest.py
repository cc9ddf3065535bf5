"""A lifeline in a network namespace of its own."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_numbers = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ready = os.geteuid() == 0 and Path("/dev/net/tun").exists() and shutil.which("ip")
    here = Path(__file__).parent
    for item in items:
        if not ready and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs root, /dev/net/tun and iproute2"))


@dataclass
class Node:
    """A namespace in which lifelines can be started."""

    namespace: str
    directory: Path
    grace: float = 0.4
    heartbeat_timeout: float = 1.0

    @property
    def socket(self) -> Path:
        return self.directory / "lifeline" / "lifeline.sock"

    def start(self, *before: str, wait: bool = True) -> subprocess.Popen[str]:
        config = self.directory / "node.toml"
        config.write_text(
            f'[node]\nrun_dir = "{self.directory}"\n[lifeline]\ndevice = "edgenode0"\n'
            f"grace = {self.grace}\nheartbeat_timeout = {self.heartbeat_timeout}\n"
        )
        process = subprocess.Popen(
            [
                *("ip", "netns", "exec", self.namespace, *before),
                *(sys.executable, "-m", "edgenode.lifeline", "--config", str(config)),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        if wait:
            assert process.stderr
            assert "ready on" in process.stderr.readline()
        return process

    def ip(self, command: str) -> str:
        return subprocess.run(
            ["ip", "-n", self.namespace, *command.split()],
            check=True,
            capture_output=True,
            text=True,
            timeout=5,
        ).stdout

    @property
    def is_up(self) -> bool:
        """Whether the device is there and up."""
        return "edgenode0" in self.ip("link show up")

    def wait(self, up: bool, timeout: float = 3.0) -> float:
        """Wait for the device to come or go; gives the seconds that it took."""
        begin = time.monotonic()
        while self.is_up is not up:
            assert time.monotonic() < begin + timeout
            time.sleep(0.01)
        return time.monotonic() - begin


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    namespace = f"t-lifeline-{os.getpid()}-{next(_numbers)}"
    try:
        subprocess.run(["ip", "netns", "add", namespace], check=True)
        yield Node(namespace, tmp_path)
    finally:
        subprocess.run(["ip", "netns", "del", namespace], check=False)


@pytest.fixture
def start(node: Node) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts lifelines, and ends them."""
    started: list[subprocess.Popen[str]] = []

    def begin(*before: str, wait: bool = True) -> subprocess.Popen[str]:
        started.append(node.start(*before, wait=wait))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate(timeout=5)
