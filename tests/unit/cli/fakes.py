"""Who the command speaks to: a control and a BIRD, each as a thread behind a Unix socket."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@contextmanager
def _serving(path: Path, handler: type[socketserver.BaseRequestHandler]) -> Iterator[None]:
    path.parent.mkdir(exist_ok=True)
    with _Server(str(path), cast(Any, handler)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            path.unlink()


@contextmanager
def control(path: Path, answer: Callable[[Any], dict[str, Any]]) -> Iterator[None]:
    """`answer` gets the body of the request (None: the status was asked for)."""

    path.parent.mkdir(parents=True, exist_ok=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(answer(None))

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self._say(answer(json.loads(self.rfile.read(length))))

        def _say(self, data: dict[str, Any]) -> None:
            raw = json.dumps(data).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    with _serving(path, Handler):
        yield


@contextmanager
def bird(path: Path, heard: list[str], *, obeys: bool = True) -> Iterator[None]:
    """A BIRD that announces the group web-a."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"0001 BIRD 2.0.12 ready.\n")
            state = b"up"
            for line in self.rfile:
                command = line.decode().strip()
                heard.append(command)
                if command.startswith("disable"):
                    state = b"down" if obeys else b"up"
                    self.wfile.write(b"0009 web_a_v4_normal: disabled\n")
                else:
                    row = b"1002-web_a_v4_normal Static master4 %s 2026-01-01T05:33:55\n0000 \n"
                    self.wfile.write(row % state)

    with _serving(path, Handler):
        yield


def status(**changes: Any) -> dict[str, Any]:
    """What control says of a node."""
    return {
        "node": "lon1",
        "bird": {"connected": True, "version": "2.0.12", "problem": "", "asked_s_ago": 0.0},
        "lifeline": {"held": True, "connected": True, "silent_s": 0.0, "no_beat": None},
        "steering": {"connected": True, "report": None, "refusal": ""},
        "groups": [
            {
                "name": "web",
                "prefixes": ["203.0.113.0/24"],
                "level": "withdrawn",
                "in_force": True,
                "reasons": ["withdrawn by the operator"],
                "intent": None,
            }
        ],
        "neighbors": [],
        "checks": [],
        "regions": [],
        "mesh": {"peers": [], "problem": ""},
    } | changes
