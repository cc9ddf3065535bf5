"""A way to etcd that can be shut: the edge is cut off, and the operator's etcdctl is not."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from edgenode.lab import netns


class Gate:
    """Passes on what comes to a port of loopback, while it is open."""

    def __init__(self, namespace: str, port: int, to: int) -> None:
        self._namespace, self._port, self._to = namespace, port, to
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._open = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        with netns.inside(self._namespace):
            listener = socket.create_server(("127.0.0.1", self._port))
        with self._lock:
            self._open, self._sockets = True, [listener]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        with self._lock:
            self._open = False
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
            self._sockets = []

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                with netns.inside(self._namespace):
                    far = socket.create_connection(("127.0.0.1", self._to))
                with self._lock:
                    if not self._open:
                        near.close()
                        far.close()
                        return
                    self._sockets += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_RDWR)


@contextmanager
def gate(namespace: str, port: int, to: int) -> Iterator[Gate]:
    made = Gate(namespace, port, to)
    made.open()
    try:
        yield made
    finally:
        made.shut()
