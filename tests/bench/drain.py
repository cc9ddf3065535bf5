"""Reads a Unix datagram socket and forgets: HAProxy's log, which it sends to a socket or drops.

`python -m tests.bench.drain PATH`
"""

from __future__ import annotations

import socket
import sys


def main(path: str) -> None:
    reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    reader.bind(path)
    buffer = bytearray(65536)
    while True:
        reader.recv_into(buffer)


if __name__ == "__main__":
    main(sys.argv[1])
