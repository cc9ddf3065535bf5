"""Users' load, run inside a user's namespace: `python -m edgenode.lab.load KIND …`.

`requests` opens a new connection every so many milliseconds, whether or not earlier ones were
answered (open loop), and asks once on each. `hold` keeps connections open and asks on each again
and again, and says at the end what became of it. Both run for a time or until SIGTERM and write
JSON lines; every time is UNIX time (CLOCK_REALTIME), so that it can be laid beside a capture:

    {"event": "ready", "time": …}
    {"event": "request", "started", "connected", "finished", "ok", "error", "body"}
    {"event": "open", "connection", "time", "body"}
    {"event": "end", "connection", "opened", "answered", "last_answer", "lost", "lost_at",
     "first", "last", "after"}

`after` is what a new connection was told when this one was lost: with it, a connection whose
route moved to another edge is told from one that its own edge lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgenode.lab.http import BadReply, Reply, request, word

Emit = Callable[[dict[str, Any]], None]
Target = tuple[str, int]
FAILURES = (OSError, EOFError, BadReply)


async def connect(target: Target) -> socket.socket:
    """A connection to an address. Raises OSError."""
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        await asyncio.get_running_loop().sock_connect(connection, target)
    except BaseException:
        connection.close()
        raise
    return connection


async def exchange(
    connection: socket.socket, target: Target, path: str, keep: bool
) -> dict[str, Any]:
    """Ask once and return the body. Raises OSError, EOFError, BadReply."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, request(target[0], path, keep))
    reply = Reply()
    while True:
        data = await loop.sock_recv(connection, 65536)
        if not data:
            raise EOFError
        if reply.feed(data):
            return reply.body()


async def once(target: Target, path: str, timeout: float) -> dict[str, Any]:
    """One request on a new connection, as the line that tells of it."""
    line: dict[str, Any] = {"started": time.time(), "connected": None, "error": None, "body": None}
    try:
        async with asyncio.timeout(timeout):
            with contextlib.closing(await connect(target)) as connection:
                line["connected"] = time.time()
                line["body"] = await exchange(connection, target, path, keep=False)
    except FAILURES as error:
        line["error"] = word(error)
    return {**line, "finished": time.time(), "ok": line["error"] is None}


async def requests(options: argparse.Namespace, emit: Emit, stop: asyncio.Event) -> None:
    """A request every `options.every` seconds until `stop`; then wait for those under way."""

    async def one() -> None:
        emit({"event": "request", **await once(options.target, options.path, options.timeout)})

    loop = asyncio.get_running_loop()
    start = loop.time()
    async with asyncio.TaskGroup() as tasks:
        number = 0
        while not stop.is_set():
            tasks.create_task(one())
            number += 1
            await pause(stop, start + number * options.every - loop.time())


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait for a time, or less when it is time to stop."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await stop.wait()


async def hold_one(
    number: int, options: argparse.Namespace, emit: Emit, stop: asyncio.Event
) -> None:
    """One connection's life."""
    fate: dict[str, Any] = {
        "connection": number,
        "opened": None,
        "answered": 0,
        "last_answer": None,
        "lost": None,
        "lost_at": None,
        "first": None,
        "last": None,
        "after": None,
    }
    try:
        async with asyncio.timeout(options.timeout):
            connection = await connect(options.target)
        with contextlib.closing(connection):
            fate["opened"] = time.time()
            while not stop.is_set():
                async with asyncio.timeout(options.timeout):
                    body = await exchange(connection, options.target, options.path, keep=True)
                fate |= {"answered": fate["answered"] + 1, "last": body, "last_answer": time.time()}
                if fate["answered"] == 1:
                    fate["first"] = body
                    emit({"event": "open", "connection": number, "time": time.time(), "body": body})
                await quiet(connection, options.every, stop)
    except FAILURES as error:
        fate |= {"lost": word(error), "lost_at": time.time()}
        fate["after"] = (await once(options.target, options.path, options.timeout))["body"]
    emit({"event": "end", **fate})


async def quiet(connection: socket.socket, seconds: float, stop: asyncio.Event) -> None:
    """Wait between two requests, and notice at once when the connection ends meanwhile.

    Raises OSError, EOFError.
    """
    loop = asyncio.get_running_loop()
    reading = asyncio.ensure_future(loop.sock_recv(connection, 1))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait(
            (reading, stopping), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if reading.done():
            raise BadReply("unasked bytes") if reading.result() else EOFError
    finally:
        for task in (reading, stopping):
            task.cancel()
        await asyncio.gather(reading, stopping, return_exceptions=True)


async def hold(options: argparse.Namespace, emit: Emit, stop: asyncio.Event) -> None:
    """Hold `options.connections` connections until `stop`."""
    async with asyncio.TaskGroup() as tasks:
        for number in range(options.connections):
            tasks.create_task(hold_one(number, options, emit, stop))
            # Spread over one interval, so that the load is even.
            await pause(stop, options.every / options.connections)


async def run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C is for the lab's owner
    if options.duration is not None:
        loop.call_later(options.duration, stop.set)
    with options.output.open("w", encoding="utf-8", buffering=1) as output:

        def emit(line: dict[str, Any]) -> None:
            output.write(json.dumps(line) + "\n")

        emit({"event": "ready", "time": time.time()})
        await (requests if options.kind == "requests" else hold)(options, emit, stop)
    # All is told: a SIGTERM that comes now must not turn the end into a failure.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def target(text: str) -> Target:
    """ADDRESS:PORT, an IPv6 address in brackets."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def main() -> None:
    parser = argparse.ArgumentParser(prog="edgenode.lab.load", description="Users' load.")
    parser.add_argument("kind", choices=("requests", "hold"))
    parser.add_argument("target", type=target, help="address:port")
    parser.add_argument("output", type=Path, help="file for the JSON lines")
    parser.add_argument("--every", type=float, default=0.01, help="seconds between requests")
    parser.add_argument("--connections", type=int, default=10, help="connections to hold")
    parser.add_argument("--duration", type=float, default=None, help="seconds; else until SIGTERM")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds for one request")
    parser.add_argument("--path", default="/")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
