"""Load on a proxy: wrk as fast as it goes, requests on a schedule, idle users. All answers count.

What is wrong with one raises LabError: a figure made beside it would say nothing.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgenode.lab import LabError
from edgenode.lab.python import environment, module
from tests.bench.proxies import BULK, HOST, USER, Proxy

_DONE = """\
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests":%.0f,"bytes":%.0f,"microseconds":%.0f,"errors":%.0f}\\n',
    summary.requests, summary.bytes, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""

_SLACK = 30.0  # seconds beyond the time that a load is to take


@dataclass(frozen=True)
class Done:
    """What wrk has had answered."""

    requests: int
    bytes: int
    seconds: float


class Wrk:
    """A run in the background: `finish` waits for it."""

    def __init__(
        self,
        place: Path,
        proxy: Proxy,
        path: str,
        connections: int,
        seconds: int,
        new: bool = False,
    ) -> None:
        """`new`: a connection for each request."""
        script = place / "done.lua"
        script.write_text(_DONE, encoding="ascii")
        self._proxy = proxy
        self._connections = connections
        self._bulk = path != "/"
        self._seconds = seconds
        url = f"http://{HOST}:{proxy.port}{path}"
        shape = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s"]
        close = ["-H", "Connection: close"] if new else []
        self._process = subprocess.Popen(
            ["wrk", *shape, *close, "-s", str(script), url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self) -> Done:
        """Raises LabError if an answer was wrong, or none came."""
        output, _ = self._process.communicate(timeout=self._seconds + _SLACK)
        try:
            found = json.loads(output.splitlines()[-1])
        except (ValueError, IndexError):
            raise LabError(f"wrk through {self._proxy.name}: {output}") from None
        done = Done(found["requests"], found["bytes"], found["microseconds"] / 1e6)
        if found["errors"] or not done.requests:
            raise LabError(f"{self._proxy.name} failed under load: {output}")
        # All answers have one size; those under way at the end are parts of one.
        size = BULK if self._bulk else done.bytes // done.requests
        if (
            not done.requests * size
            <= done.bytes
            <= (done.requests + self._connections) * (size + 1024)
        ):
            raise LabError(f"{self._proxy.name} lost bytes: {done}")
        return done


def verify(proxy: Proxy, digest: str) -> None:
    """One small answer, which says whom the worker was told of, and one large. Raises LabError."""
    connection = http.client.HTTPConnection(HOST, proxy.port, 10.0, ("127.0.0.3", 0))
    try:
        connection.request("GET", "/")
        answer = connection.getresponse().read()
        connection.request("GET", "/bulk")
        body = connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"{proxy.name} does not serve: {error!r}") from None
    finally:
        connection.close()
    if answer != b"127.0.0.3\n":
        raise LabError(f"the worker behind {proxy.name} saw {answer!r}, not its user")
    if hashlib.sha256(body).hexdigest() != digest:
        raise LabError(f"{proxy.name} has changed a body of {len(body)} bytes")


def open_loop(
    proxy: Proxy, rate: float, seconds: float, connections: int, new_every: int = 0
) -> dict[str, Any]:
    """Latencies in microseconds, see `openloop`. Raises LabError."""
    arguments = [f"--rate={rate}", f"--seconds={seconds}", f"--connections={connections}"]
    command = module(
        "tests.bench.openloop", HOST, str(proxy.port), USER, *arguments, f"--new-every={new_every}"
    )
    done = subprocess.run(
        command,
        env={**environment()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds + _SLACK,
        check=False,
    )
    if done.returncode:
        raise LabError(f"{proxy.name}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def idle_users(proxy: Proxy, count: int) -> Iterator[None]:
    """So many connections that stand and say nothing. Raises LabError."""
    process = subprocess.Popen(
        module("tests.bench.held", HOST, str(proxy.port), str(count), USER),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise LabError(f"{proxy.name} does not hold {count} connections")
        yield
        process.communicate(timeout=_SLACK)
        if process.returncode:
            raise LabError(f"{proxy.name} lost idle connections")
    finally:
        process.kill()
        process.wait()
