"""A benchmark in namespaces of its own (network, processes, mounts): nothing is left of it.

However the command ends, SIGKILL included, the kernel ends the first process in there, and with it
all others; addresses, settings and files were theirs alone.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.speakers import PRIORITY

_SCRATCH = "EDGENODE_BENCH_SCRATCH"
FILES = 20_000
"""Descriptors that each process may have."""
_SETTINGS = {
    # Many short connections between few addresses; ports below are for listeners.
    "net/ipv4/ip_local_port_range": "10000 65535",
    "net/ipv4/tcp_tw_reuse": "1",
    # A reader of logs that gets its turn late loses nothing.
    "net/unix/max_dgram_qlen": "4096",
}


def scratch() -> Path | None:
    """A directory in memory, for a process that `run` has started; None: call `run`."""
    place = os.environ.get(_SCRATCH)
    return Path(place) if place else None


def run(module: str, arguments: Sequence[str]) -> int:
    """Run a module of this project with these arguments in there; return its exit status."""
    # SIGTERM unwinds as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="edgenode-bench-") as place:
        command = [
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"),
            *(sys.executable, "-m", module, *arguments),
        ]
        process = subprocess.Popen(command, env={**os.environ, _SCRATCH: place})
        try:
            return process.wait()
        finally:
            process.kill()
            process.wait()


def settle(place: Path) -> None:
    """Make ready what `run` has made. Raises CalledProcessError and OSError."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "bench", str(place)], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name, value in _SETTINGS.items():
        Path("/proc/sys", name).write_text(value, encoding="ascii")
    hard = max(FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
