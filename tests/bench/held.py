"""Idle users: `python -m tests.bench.held HOST PORT COUNT BODY`.

Each connection has asked once, and had its answer. Says "ready" when all are there, and keeps them
until its standard input ends; then it looks whether all of them are still there.
"""

from __future__ import annotations

import socket
import sys

_PATIENCE = 10.0


def ask(connection: socket.socket, host: str, body: bytes) -> None:
    """One request. Raises OSError and ValueError if its answer is not the right one."""
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n" + body):
        data = connection.recv(65536)
        if not data or len(answer) > 4096:
            raise ValueError(f"a wrong answer: {answer!r}")
        answer += data


def main(host: str, port: int, count: int, body: bytes) -> int:
    held = []
    try:
        for _ in range(count):
            connection = socket.create_connection((host, port), _PATIENCE)
            held.append(connection)
            ask(connection, host, body)
        print("ready", flush=True)
        sys.stdin.read()
        for connection in held[:: max(1, count // 100)]:
            ask(connection, host, body)
    except (OSError, ValueError) as error:
        print(f"held: connection {len(held)}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].encode() + b"\n"))
