"""`edgenode control --dry-run` as a process: it decides, and nobody hears of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenode import places
from edgenode.control.dryrun import leading_nowhere
from edgenode.state import Intent, IntentKind, Intents
from tests.unit.siblings.test_siblings import configuration

CONFIG = """
[node]
name = "lon1"
run_dir = "{directory}/run"
state_dir = "{directory}/state"
[bgp]
asn = 64700
router_id = "198.51.100.1"
socket = "{directory}/bird.ctl"
config = "{directory}/bird.conf"
[[bgp.neighbors]]
name = "transit"
address = "198.51.100.3"
asn = 64601
[[groups]]
name = "web"
prefixes = ["203.0.113.0/24"]
addresses = ["203.0.113.1"]
checks = ["proxy"]
[[groups]]
name = "mail"
prefixes = ["192.0.2.0/24"]
checks = ["proxy"]
[[checks]]
name = "proxy"
type = "tcp"
target = "127.0.0.1:{port}"
interval = "100ms"
[[hooks]]
name = "page"
command = ["touch", "{directory}/hooked"]
[mesh]
device = "edgenode-none"
addresses = ["198.51.100.193"]
"""


def tree(directory: Path) -> dict[str, tuple[int, int]]:
    """Everything below, and what changes when it is written."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_mtime_ns, status.st_size)
    return found


@contextlib.contextmanager
def listening(path: Path, kind: socket.SocketKind, heard: list[Path]) -> Iterator[None]:
    """In place of a daemon: whoever connects is noted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, kind) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()
                    heard.append(path)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_what_would_be_announced_is_logged_and_nothing_is_touched(tmp_path: Path) -> None:
    config, node = tmp_path / "edgenode.toml", tmp_path / "node"
    heard: list[Path] = []
    run_dir = node / "run"
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for path, kind in {
            node / "bird.ctl": socket.SOCK_STREAM,
            places.lifeline_socket(run_dir): socket.SOCK_SEQPACKET,
            places.steering_socket(run_dir): socket.SOCK_STREAM,
            places.exec_socket(run_dir): socket.SOCK_SEQPACKET,
            places.control_socket(run_dir): socket.SOCK_STREAM,
        }.items():
            stack.enter_context(listening(path, kind, heard))
        config.write_text(CONFIG.format(directory=node, port=proxy.getsockname()[1]))
        state = places.control_state(node / "state")
        state.mkdir(parents=True)
        Intents(state).put(Intent("mail", IntentKind.WITHDRAWN, time.time(), "rack move"))
        before = tree(node)
        command = [sys.executable, "-m", "edgenode.cli", "control", "--dry-run"]
        process = subprocess.Popen(
            [*command, "--config", str(config)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        try:
            lines = Lines(process)
            lines.wait("dry run of node lon1")
            lines.wait("group web: normal: all that is required is up")
            proxy.close()
            lines.wait("check proxy: down: connection to 127.0.0.1")
            lines.wait("group web: withdrawn: check proxy is down")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            lines.wait("at the end group web would be withdrawn: check proxy is down")
            lines.wait("at the end group mail would be withdrawn: ")
        finally:
            process.kill()
            process.wait()
        assert tree(node) == before
        assert heard == []
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["node"], "no scratch"
    rest = [text for text in lines.all if "BIRD" in text or "lifeline" in text]
    assert rest == [], "nothing is said of edges that lead nowhere"


class Lines:
    """A process's log, as far as it was waited for."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.all: list[str] = []
        self._arrived = threading.Condition()
        threading.Thread(target=self._read, args=(process.stderr,), daemon=True).start()

    def _read(self, stream: Iterator[str]) -> None:
        for line in stream:
            with self._arrived:
                self.all.append(line)
                self._arrived.notify_all()

    def wait(self, text: str) -> None:
        with self._arrived:
            there = self._arrived.wait_for(lambda: any(text in line for line in self.all), 20)
        if not there:
            pytest.fail(f"{text!r} is not in the log:\n{''.join(self.all)}")


def test_siblings_are_told_nothing(tmp_path: Path) -> None:
    real = configuration("lon1", 51821)
    node = real.node.model_copy(update={"run_dir": tmp_path / "run", "state_dir": tmp_path})
    assert real.edges
    moved = leading_nowhere(real.model_copy(update={"node": node}), tmp_path / "scratch")
    assert moved.edges == ()
    assert moved.mesh
    assert len(moved.mesh.peers) == 3
