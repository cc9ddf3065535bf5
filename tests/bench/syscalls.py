"""System calls that a proxy makes for a connection, as strace(1) counts them."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

from edgenode.lab import LabError
from tests.bench import load
from tests.bench.proxies import Proxy

_CONNECTIONS = 4  # at a time: what is traced is slow, and many at once would share calls
_SECONDS = 3


def of_a_connection(place: Path, proxy: Proxy) -> dict[str, float]:
    """Calls of each kind for one short connection, and their sum as "total". Raises LabError."""
    output = place / f"{proxy.name}.strace"
    attached = [argument for pid in proxy.pids() for argument in ("-p", str(pid))]
    tracer = subprocess.Popen(
        ["strace", "-f", "-c", "-o", str(output), *attached],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(1.0)
        done = load.Wrk(place, proxy, "/", _CONNECTIONS, _SECONDS, new=True).finish()
        time.sleep(0.2)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
    counts = parsed(output.read_text(encoding="utf-8"))
    if not counts:
        raise LabError(f"strace could not attach to {proxy.name}")
    each = {name: count / done.requests for name, count in counts.items()}
    kept = {name: round(count, 2) for name, count in each.items() if count >= 0.005}
    return {"total": round(sum(each.values()), 2), **kept}


def parsed(text: str) -> dict[str, int]:
    """Calls by name, out of the table of `strace -c`."""
    counts = {}
    for line in text.splitlines():
        words = line.split()
        # share, seconds, microseconds a call, calls, perhaps errors, name
        if len(words) in (5, 6) and words[3].isdigit() and words[-1] != "total":
            counts[words[-1]] = int(words[3])
    return counts
