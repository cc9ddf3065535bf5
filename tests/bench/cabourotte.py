"""Stands in for Cabourotte, which anycastd asks for results and no registry here carries.

`GET /result/NAME` is answered with a connection to the target that is tried at that moment: the
real one polls the target by an interval of its own, and adds that to what anycastd takes.

Usage: python cabourotte.py PORT TARGET_ADDRESS TARGET_PORT
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time


def healthy(target: tuple[str, int]) -> bool:
    """Whether the target, on this host, accepts a connection."""
    try:
        with socket.create_connection(target, timeout=0.5):
            return True
    except OSError:
        return False


def answer(name: str, success: bool) -> bytes:
    """A result as Cabourotte's API gives it."""
    result = {
        "name": name,
        "summary": f"connect to {name}",
        "success": success,
        "healthcheck-timestamp": int(time.time()),
        "message": "success" if success else "connection refused",
        "duration": 0,
        "source": "stand-in",
    }
    body = json.dumps(result).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def main(port: int, target: tuple[str, int]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        name = head.split()[1].decode().rpartition("/")[2]
        writer.write(answer(name, healthy(target)))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), (sys.argv[2], int(sys.argv[3]))))
