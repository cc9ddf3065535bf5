"""Proxies side by side, each in front of the same worker (nginx): HAProxy, nginx stream, edgenode.

All listen on 127.0.0.2, so that users (127.0.0.1) are not taken for this node's own health probes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edgenode.config import Config
from edgenode.health.risefall import State
from edgenode.lab import LabError, wait_until
from edgenode.lab.build import nginx
from edgenode.lab.nodes import edge
from edgenode.lab.python import environment, module
from edgenode.places import steering_socket, steering_table
from edgenode.regions.publisher import Publisher
from edgenode.regions.ranking import TargetState
from edgenode.regions.registry import from_config
from edgenode.steering import form, tablefile
from edgenode.steering.table import Bind
from tests.bench.node import configuration
from tests.bench.scale import cpu

HOST = "127.0.0.2"
USER = "127.0.0.1"
WORKER = 9000
EDGENODE, HAPROXY, HAPROXY_BULK, NGINX = "edgenode", "haproxy", "haproxy-bulk", "nginx"
PORTS = {EDGENODE: 9101, HAPROXY: 9102, HAPROXY_BULK: 9103, NGINX: 9104}
BULK = 16 << 20
"""Bytes of the large body."""

_PATIENCE = 20.0


class Proxy:
    """A program that was started, and its children."""

    def __init__(
        self, name: str, command: Iterable[str], log: Path, env: Mapping[str, str]
    ) -> None:
        self.name = name
        self.port = PORTS.get(name, WORKER)
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **env},
                cwd="/",
            )

    def wait(self, host: str) -> None:
        """Until it accepts connections. Raises LabError."""

        def accepts() -> bool:
            if self._process.poll() is not None:
                raise LabError(f"{self.name} has ended: {self._log.read_text(errors='replace')}")
            with contextlib.suppress(OSError), socket.create_connection((host, self.port), 1.0):
                return True
            return False

        wait_until(accepts, _PATIENCE, f"{self.name} accepts")

    def pids(self) -> list[int]:
        """Of the program and all its descendants."""
        found, todo = [], [self._process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += map(int, (task / "children").read_text(encoding="ascii").split())
        return found

    def cpu(self) -> float:
        """Seconds, user and system, of all its processes."""
        return sum(map(cpu, self.pids()))

    def memory(self) -> int:
        """Bytes that are resident, of all its processes (proc_pid_status(5), VmRSS)."""
        total = 0
        for pid in self.pids():
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
            line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
            total += int(line.split()[1]) * 1024
        return total

    def stop(self) -> None:
        """End it, and wait."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def running(
    names: Iterable[str], threads: int, place: Path, interpreted: bool
) -> Iterator[dict[str, Proxy]]:
    """The proxies, with so many threads or relay workers each, and the worker behind them.

    Raises LabError.
    """
    place.mkdir(parents=True)
    with ExitStack() as stack:
        body = place / "www" / "bulk"
        body.parent.mkdir()
        body.write_bytes(os.urandom(BULK))
        place.chmod(0o755)

        def spawn(name: str, command: Iterable[str], env: Mapping[str, str] | None = None) -> Proxy:
            proxy = Proxy(name, command, place / f"{name}.log", env or {})
            stack.callback(proxy.stop)
            return proxy

        spawn("worker", _nginx(place, "worker", _WORKER, threads)).wait("127.0.0.1")
        found = {}
        for name in names:
            found[name] = _STARTS[name](place, name, threads, spawn, interpreted)
            found[name].wait(HOST)
        yield found


_Spawn = Callable[..., Proxy]


# nginx: the worker, and as a proxy

_EVENTS = """\
daemon off;
user root;
worker_processes {threads};
pid {place}/{name}.pid;
events {{ worker_connections 19000; multi_accept on; }}
"""

_WORKER = (
    _EVENTS
    + """\
error_log stderr crit;
http {{
    access_log off;
    sendfile on;
    tcp_nopush off;
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    default_type text/plain;
    client_body_temp_path {place}/{name}-tmp;
    proxy_temp_path {place}/{name}-tmp;
    fastcgi_temp_path {place}/{name}-tmp;
    uwsgi_temp_path {place}/{name}-tmp;
    scgi_temp_path {place}/{name}-tmp;
    server {{
        listen 127.0.0.1:9000 proxy_protocol backlog=4096;
        root {place}/www;
        location = / {{ return 200 "$proxy_protocol_addr\\n"; }}
    }}
}}
"""
)

# It speaks version 1 of the PROXY protocol only.
_STREAM = (
    "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n"
    + _EVENTS
    + """\
error_log stderr crit;
stream {{
    log_format line '$remote_addr:$remote_port $upstream_addr $upstream_connect_time '
                    '$bytes_received $bytes_sent $session_time $status';
    access_log {place}/{name}-access.log line buffer=64k flush=1s;
    server {{
        listen {host}:{port} backlog=4096;
        proxy_pass 127.0.0.1:9000;
        proxy_protocol on;
        proxy_connect_timeout 5s;
        proxy_timeout 600s;
        tcp_nodelay on;
    }}
}}
"""
)


def _nginx(place: Path, name: str, text: str, threads: int) -> tuple[str, ...]:
    config = place / f"{name}.conf"
    config.write_text(
        text.format(place=place, name=name, threads=threads, host=HOST, port=PORTS.get(name, 0)),
        encoding="utf-8",
    )
    return nginx(config)


def _start_nginx(place: Path, name: str, threads: int, spawn: _Spawn, interpreted: bool) -> Proxy:
    return spawn(name, _nginx(place, name, _STREAM, threads))


# HAProxy: at its best for connections and requests, and at its best for bulk

_HAPROXY = """\
global
  nbthread {threads}
  maxconn 9000
  maxpipes 500
  tune.pipesize 1048576
{log}
defaults
  mode tcp
{tcplog}
  timeout connect 5s
  timeout client 600s
  timeout server 600s
{splice}
  option tcp-smart-accept
  option tcp-smart-connect
listen a
  bind {host}:{port} backlog 4096
  server s 127.0.0.1:9000 send-proxy-v2
"""


def _start_haproxy(place: Path, name: str, threads: int, spawn: _Spawn, interpreted: bool) -> Proxy:
    bulk = name == HAPROXY_BULK
    log = place / "haproxy-log.sock"
    if not bulk:
        spawn("drain", module("tests.bench.drain", str(log)), environment())
        wait_until(log.exists, _PATIENCE, "the reader of HAProxy's log is there")
    config = place / f"{name}.cfg"
    config.write_text(
        _HAPROXY.format(
            threads=threads,
            host=HOST,
            port=PORTS[name],
            log="" if bulk else f"  log {log} local0 info",
            tcplog="" if bulk else "  log global\n  option tcplog",
            splice="  option splice-request\n  option splice-response"
            if bulk
            else "  option splice-auto",
        ),
        encoding="utf-8",
    )
    return spawn(name, ("haproxy", "-db", "-f", str(config)))


# edgenode

_SERVICE = """
[[services]]
name = "web"
group = "web"
listen = ["{host}:{port}"]
port = 9000
proxy_protocol = "v2"
client_first = true
connect_timeout = "5s"
idle_timeout = "600s"
half_closed_timeout = "60s"
lifetime = "24h"

[services.limits]
connections = 50000
per_source = 50000
rate = 1000000
source_rate = 1000000

[[regions]]
name = "near"
[[regions.workers]]
name = "one"
addresses = ["127.0.0.1"]
"""


def _start_edgenode(
    place: Path, name: str, threads: int, spawn: _Spawn, interpreted: bool
) -> Proxy:
    own = place / name
    own.mkdir()
    text = configuration(own, threads)
    config = own / "edgenode.toml"
    config.write_text(text, encoding="utf-8")
    # Nothing checks a worker here: what control would publish goes to steering by its file.
    service = _SERVICE.format(host=HOST, port=PORTS[name])
    registry = from_config(Config.model_validate(tomllib.loads(text + service)), Bind())
    states = {one.key: TargetState(State.UP, 0.001, "", 0.0) for one in registry.targets}
    table = Publisher(registry, 0.0).update(states, 0.0)
    assert table is not None
    tablefile.save(steering_table(own / "state"), table)
    env = {form.VARIABLE: form.INTERPRETED if interpreted else form.COMPILED}
    proxy: Proxy = spawn(name, edge.daemon(config, "steering"), environment() | env)
    threading.Thread(target=_read_reports, args=(own / "run",), daemon=True).start()
    return proxy


def _read_reports(run_dir: Path) -> None:
    """What control does all the time: the metrics are made of it."""
    with socket.socket(socket.AF_UNIX) as reports:
        wait_until(steering_socket(run_dir).exists, _PATIENCE, "steering's socket is there")
        with contextlib.suppress(OSError):  # it is stopped
            reports.connect(str(steering_socket(run_dir)))
            while reports.recv(1 << 20):
                pass


_STARTS = {
    EDGENODE: _start_edgenode,
    HAPROXY: _start_haproxy,
    HAPROXY_BULK: _start_haproxy,
    NGINX: _start_nginx,
}


def versions() -> dict[str, str]:
    """Of the peers' Debian packages."""
    names = ("haproxy", "nginx-light", "libnginx-mod-stream", "wrk")
    found = {}
    for name in names:
        command = ["dpkg-query", "-W", "-f=${Version}", name]
        found[name] = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return found
