"""CPU of many checks: what `edgenode control` spends on probes and tripwires, in its own loop.

    .venv/bin/python tests/bench/checks.py [--checks 500] [--seconds 10] [--type tcp] [--json FILE]

Beside it, in the same run: a bare non-blocking connect and close for each probe, and
`asyncio.open_connection`. The targets are processes of their own on loopback; the figures are this
process's CPU, as a share of one core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import socket
import struct
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from edgenode.config import Check
from edgenode.health import Checker, State, Verdict

LISTENERS = 20
HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"

check_of: TypeAdapter[Any] = TypeAdapter(Check)


def serve(http: bool, listeners: list[socket.socket]) -> None:
    """Accept, and answer or hold; a process of its own."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(4096):
                if http:
                    writer.write(HTTP)
                    break
        except OSError:
            pass
        writer.close()

    async def run() -> None:
        for listener in listeners:
            await asyncio.start_server(talk, sock=listener)
        await asyncio.Event().wait()

    asyncio.run(run())


async def measured(run: Coroutine[Any, Any, None], warm: float, seconds: float) -> float:
    """CPU of this process while it runs, as a share of one core."""
    task = asyncio.ensure_future(run)
    await asyncio.sleep(warm)
    started, spent = time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    share = (time.process_time() - spent) / (time.monotonic() - started)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return share


async def each(rate: float, probe: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """So many a second, spread evenly."""
    start, done = time.monotonic(), 0
    while True:
        await probe()
        done += 1
        await asyncio.sleep(start + done / rate - time.monotonic())


def bare(address: tuple[str, int]) -> Callable[[], Coroutine[Any, Any, None]]:
    async def probe() -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.connect_ex(address)
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        sock.close()

    return probe


def streams(address: tuple[str, int]) -> Callable[[], Coroutine[Any, Any, None]]:
    async def probe() -> None:
        _, writer = await asyncio.open_connection(*address)
        writer.close()
        await writer.wait_closed()

    return probe


async def checker(values: list[dict[str, Any]], seconds: float) -> dict[str, float]:
    verdicts: list[Verdict] = []
    checks = [check_of.validate_python(value) for value in values]
    one = Checker(checks, verdicts.append, Path("-"))
    share = await measured(one.run(), 3.0, seconds)
    states = [verdict.state for verdict in one.states().values()]
    assert states == [State.UP] * len(values), f"{states.count(State.UP)} are up"
    probes = sum(counters.succeeded for counters in one.counters().values())
    return {"cpu_percent": round(100 * share, 2), "probes": probes}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--checks", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--type", choices=["tcp", "http"], default="tcp")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(LISTENERS)]
    addresses = [listener.getsockname()[:2] for listener in listeners]
    server = multiprocessing.get_context("fork").Process(
        target=serve, args=(options.type == "http", listeners), daemon=True
    )
    server.start()
    for listener in listeners:
        listener.close()

    def value(n: int, tripwire: bool) -> dict[str, Any]:
        host, port = addresses[n % LISTENERS]
        target = {"url": f"http://{host}:{port}/"} if options.type == "http" else {}
        target = target or {"target": f"{host}:{port}"}
        return {"name": f"c{n}", "type": options.type, **target, "tripwire": tripwire}

    results: dict[str, Any] = {"checks": options.checks, "type": options.type}
    count = range(options.checks)
    try:
        results["edgenode"] = await checker([value(n, True) for n in count], options.seconds)
        results["edgenode_without_tripwires"] = await checker(
            [value(n, False) for n in count], options.seconds
        )
        for name, probe in {"bare_connect": bare, "asyncio_streams": streams}.items():
            share = await measured(each(options.checks, probe(addresses[0])), 1.0, options.seconds)
            results[name] = {"cpu_percent": round(100 * share, 2)}
    finally:
        server.kill()
        server.join()
    text = json.dumps(results, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    asyncio.run(main())
