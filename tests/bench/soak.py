"""Nothing leaks: 100,000 connections of every bad kind through a real steering.

Users and workers that reset at each step of a connection, say nothing, never close, read nothing,
send single bytes or random ones, through two relay workers. After a tenth of them, and after all,
each process must have the same descriptors, and no more memory than the bound says; and each
connection must have been counted, with a reason.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import multiprocessing
import os
import random
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from edgenode.steering.protection import Protection
from edgenode.steering.table import Bind, RegionTargets, Service, Table, Target
from tests.bench import alone
from tests.unit.steering.hellos import hello
from tests.unit.steering.process import Steering

GROWTH = 6 << 20
"""Bytes that a process may have grown by (anonymous memory) between the two looks."""

RELAYS, DRIVERS, AT_A_TIME = 2, 2, 100
PATIENCE = 60.0
HOST, SILENT, GATE = "127.0.0.1", "10.9.0.2", "127.9.0.1"
FAR_PORTS = range(7001, 7005)
WEB, TLS, DEAD, MUTE, NOWHERE, GUARDED, BEHIND = ports = range(8001, 8008)
RESET = struct.pack("ii", 1, 0)
BIND_NO_PORT = 24  # linux/in.h

EXPECTED = frozenset(
    (
        *("closed", "client-reset", "worker-reset", "idle", "half-closed", "lifetime"),
        *("no-region", "no-target", "denied", "source-full", "source-rate", "local-probe"),
        *("bad-hello", "no-hello", "no-route", "hello-timeout"),
        *("bad-proxy-header", "header-timeout"),
    )
)
"""Reasons that must all be among those that are counted."""


def table() -> Table:
    far = [Target(f"far-{port}", HOST, port) for port in FAR_PORTS]
    well = (RegionTargets("fra", tuple(far[:2])), RegionTargets("iad", tuple(far[2:])))
    dead = (RegionTargets("fra", (Target("gone", HOST, 7999),)),)
    mute = (RegionTargets("sin", (Target("mute", SILENT, 7001),)),)
    quick = Protection(half_closed_timeout=0.2, lifetime=2.0)
    guarded = Protection(
        deny=("127.66.0.0/16",), per_source=1, source_prefix_v4=24, source_rate=2.0
    )

    def service(name: str, port: int, regions: tuple[RegionTargets, ...], **more: Any) -> Service:
        listen = (f"{HOST}:{port}",)
        return Service(name, listen, "v2", 0.2, 0.4, regions, **{"protection": quick, **more})

    services = (
        service("web", WEB, well),
        service("tls", TLS, well, sni=("www.example.net",), hello_timeout=0.3),
        service("dead", DEAD, dead),
        service("mute", MUTE, mute, hedge=False),
        service("nowhere", NOWHERE, ()),
        service("guarded", GUARDED, well, protection=guarded),
        service("behind", BEHIND, well, accept_proxy=(f"{GATE}/32",), hello_timeout=0.3),
    )
    return Table(1, "lon1", Bind(), services)


# --- workers


class Far(asyncio.Protocol):
    """A worker: does what the first byte behind the PROXY header says."""

    def __init__(self) -> None:
        self._early: bytearray | None = bytearray()
        self._order = b""
        self._whole = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early += data
            if len(self._early) < 16 or len(self._early) <= 16 + self._early[15]:
                return
            data = bytes(self._early[16 + self._early[15] :])
            self._early, self._order = None, data[:1]
            if self._order == b"r":
                self._reset()
            elif self._order == b"c":
                self._transport.write(b"bye")
                self._transport.write_eof()
            elif self._order == b"b":
                self.resume_writing()
        if self._order == b"e":
            self._transport.write(data)
        elif self._order == b"a":
            self._transport.write(b"answer")
            asyncio.get_running_loop().call_later(0.01, self._reset)
        elif self._order == b"1":
            self._whole += data

    def resume_writing(self) -> None:
        if self._order == b"b":
            self._transport.write(bytes(65536))

    def eof_received(self) -> bool:
        for byte in self._whole:
            self._transport.write(bytes((byte,)))
        return self._order == b"s"

    def _reset(self) -> None:
        if not self._transport.is_closing():
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._transport.abort()


async def serve() -> None:
    loop = asyncio.get_running_loop()
    for port in FAR_PORTS:
        await loop.create_server(Far, HOST, port, backlog=4096)
    await asyncio.Event().wait()


# --- users


class User:
    """One connection. What its peer does to it is no failure."""

    def __init__(self, source: str) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.IPPROTO_IP, BIND_NO_PORT, 1)
        self.socket.bind((source, 0))
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.socket, data)

    async def read(self, size: int) -> bytes:
        return await self._loop.sock_recv(self.socket, size)

    async def read_all(self) -> None:
        while await self.read(65536):
            pass

    def end(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.close()


Story = Callable[[User, random.Random], Awaitable[None]]


async def at_once(user: User, chance: random.Random) -> None:
    user.reset()


async def in_the_middle(user: User, chance: random.Random) -> None:
    await user.send(chance.choice((b"ehello", b"s", b"b", b"1xx")))
    await asyncio.sleep(chance.choice((0.0, 0.001, 0.01)))
    user.reset()


async def echoed(user: User, chance: random.Random) -> None:
    await user.send(b"e" + bytes(chance.choice((1, 500, 20_000))))
    user.end()
    await user.read_all()


async def left_live(user: User, chance: random.Random) -> None:
    await user.send(b"ehello")
    await user.read(6)
    user.reset()


async def half_closed(user: User, chance: random.Random) -> None:
    await user.send(chance.choice((b"s", b"e", b"c")))
    user.end()
    await asyncio.sleep(chance.choice((0.0, 0.001, 0.01)))
    user.reset()


async def worker_ends_first(user: User, chance: random.Random) -> None:
    await user.send(b"c")
    await user.read_all()
    if chance.random() < 0.5:
        user.end()


async def worker_resets(user: User, chance: random.Random) -> None:
    await user.send(chance.choice((b"r", b"a")))
    await user.read_all()


async def silence(user: User, chance: random.Random) -> None:
    await user.send(b"s")
    if chance.random() < 0.5:
        user.end()
    await user.read_all()


async def single_bytes(user: User, chance: random.Random) -> None:
    for byte in b"1" + chance.randbytes(30):
        await user.send(bytes((byte,)))
    user.end()
    await user.read_all()


async def junk(user: User, chance: random.Random) -> None:
    await user.send(chance.randbytes(chance.randint(1, 2000)))
    user.end()
    await user.read(65536)


async def reads_nothing(user: User, chance: random.Random) -> None:
    await user.send(b"b")
    await asyncio.sleep(chance.choice((0.05, 1.0)))
    user.reset()


async def too_long(user: User, chance: random.Random) -> None:
    deadline = time.monotonic() + 5.0
    await user.send(b"e")
    while time.monotonic() < deadline:
        await user.send(b"x")
        await user.read(100)
        await asyncio.sleep(0.1)


async def hears(user: User, chance: random.Random) -> None:
    await user.send(b"e")
    user.end()
    await user.read_all()


async def bad_hello(user: User, chance: random.Random) -> None:
    good = hello(chance.choice(("www.example.net", "other.example.net")))
    await user.send(
        chance.choice(
            (
                *(good, good[:50], good + b"x", good * 30, b"\x16\x03\x01\xff\xff" + good),
                *(chance.randbytes(100), b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b""),
            )
        )
    )
    if chance.random() < 0.7:
        user.end()
    await user.read_all()


async def bad_header(user: User, chance: random.Random) -> None:
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    await user.send(
        chance.choice(
            (
                *(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\ne", b"PROXY TCP4 192.0.2.1"),
                *(signature + b"\x21\x11\xff\xff" + bytes(300), chance.randbytes(60), b"PROXY"),
                *(b"PROXY " + b"x" * 200, b""),
            )
        )
    )
    if chance.random() < 0.7:
        user.end()
    await user.read_all()


async def says_nothing(user: User, chance: random.Random) -> None:
    user.end()
    await user.read_all()


KINDS: tuple[tuple[float, str, int, Story], ...] = (
    (12, "any", WEB, at_once),
    (14, "any", WEB, in_the_middle),
    (12, "any", WEB, echoed),
    (8, "any", WEB, left_live),
    (8, "any", WEB, half_closed),
    (6, "any", WEB, worker_ends_first),
    (8, "any", WEB, worker_resets),
    (3, "any", WEB, silence),
    (3, "any", WEB, single_bytes),
    (6, "any", WEB, junk),
    (1, "any", WEB, reads_nothing),
    (0.1, "any", WEB, too_long),
    (4, "any", TLS, bad_hello),
    (4, "any", DEAD, hears),
    (1, "any", MUTE, in_the_middle),
    (1, "any", MUTE, hears),
    (2, "any", NOWHERE, hears),
    (2, "127.66.0.", GUARDED, hears),
    (3, "127.67.0.", GUARDED, left_live),
    (2, GATE, BEHIND, bad_header),
    (1, HOST, WEB, says_nothing),
)
"""How often, where from, where to, and what happens."""


async def drive(seed: int, connections: int, made: Any) -> None:
    """So many connections, `AT_A_TIME`; `made` counts them."""
    loop, left = asyncio.get_running_loop(), [connections]
    weights = [kind[0] for kind in KINDS]

    async def some(chance: random.Random) -> None:
        while left[0] > 0:
            left[0] -= 1
            _, source, port, story = chance.choices(KINDS, weights)[0]
            if source == "any":
                source = f"127.1.{chance.randrange(256)}.{chance.randrange(1, 255)}"
            elif source.endswith("."):
                source += str(chance.randrange(1, 255))
            user = User(source)
            with contextlib.suppress(ConnectionResetError):  # by then it had been accepted
                await loop.sock_connect(user.socket, (HOST, port))
            made.value += 1
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(story(user, chance), PATIENCE)
            user.socket.close()

    await asyncio.gather(*(some(random.Random(f"{seed}-{n}")) for n in range(AT_A_TIME)))


def far_end() -> None:
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # of each reset it has a line to say
    asyncio.run(serve())


def driver(seed: int, connections: int, made: Any, done: Event) -> None:
    asyncio.run(drive(seed, connections, made))
    done.set()


# --- what came of it


def anonymous(pid: int) -> int:
    """Bytes of memory that the process shares with nobody."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


class Look:
    """Descriptors and memory of the supervisor and its relay workers."""

    def __init__(self, steering: Steering) -> None:
        relays = steering.relays()
        self.pids = {"supervisor": steering.process.pid} | {
            f"relay worker {number}": pid for number, pid in enumerate(relays, start=1)
        }
        self.files = {name: len(os.listdir(f"/proc/{p}/fd")) for name, p in self.pids.items()}
        self.memory = {name: anonymous(pid) for name, pid in self.pids.items()}


def endings(report: Mapping[str, Any]) -> Counter[str]:
    total: Counter[str] = Counter()
    for figures in report["figures"].values():
        total.update(figures["endings"])
    return total


def accepted(report: Mapping[str, Any]) -> int:
    return sum(service["accepted"] for service in report["services"].values())


class Soak:
    def __init__(self, steering: Steering) -> None:
        self._steering = steering
        self._made = 0
        self._said = time.monotonic()

    def _report(self) -> dict[str, Any]:
        """As it is now: on a connection that is kept, older ones would wait to be read."""
        with self._steering.control() as control:
            return control.report()

    def load(self, connections: int, of: int) -> None:
        """Drive so many, and wait until each has ended."""
        context = multiprocessing.get_context("fork")
        counts = [context.Value("q", 0, lock=False) for _ in range(DRIVERS)]
        done = [context.Event() for _ in range(DRIVERS)]
        processes = [
            context.Process(
                target=driver, args=(self._made + n, connections // DRIVERS, counts[n], done[n])
            )
            for n in range(DRIVERS)
        ]
        for process in processes:
            process.start()
        while not all(event.is_set() for event in done):
            time.sleep(0.5)
            if any(process.exitcode for process in processes):
                raise SystemExit("soak: what drives the users has ended before its time")
            self._progress(self._made + sum(count.value for count in counts), of)
        for process in processes:
            process.join()
        self._made += sum(count.value for count in counts)
        deadline = time.monotonic() + PATIENCE
        while sum(endings(self._report()).values()) < self._made:
            if time.monotonic() > deadline:
                break
            time.sleep(0.3)
        time.sleep(1.5)  # closed and counted; the report of a relay worker may be a second old
        self.report = self._report()
        time.sleep(0.5)  # until the supervisor has let go of who asked for it

    def _progress(self, made: int, of: int) -> None:
        now = time.monotonic()
        if now - self._said < 5.0:
            return
        self._said = now
        look, report = Look(self._steering), self._report()
        found = ", ".join(f"{why} {count}" for why, count in endings(report).most_common(6))
        memory = "/".join(f"{size / 2**20:.1f}" for size in look.memory.values())
        print(f"  {made:,} of {of:,}; {memory} MiB; {found}", flush=True)

    def faults(self, before: Look, after: Look) -> list[str]:
        """What is wrong, in sentences."""
        found: list[str] = []
        if before.pids != after.pids:
            found.append("a process was replaced")
        for name in after.files.keys() & before.files.keys():
            more = after.files[name] - before.files[name]
            if more > 0:
                found.append(f"{name}: {more} descriptors are left open")
            grown = after.memory[name] - before.memory[name]
            if grown > GROWTH:
                found.append(
                    f"{name}: grown by {grown / 2**20:.1f} MiB, {GROWTH >> 20} are allowed"
                )
        reasons = endings(self.report)
        if not sum(reasons.values()) == accepted(self.report) == self._made:
            found.append(
                f"{self._made:,} connections were made, {accepted(self.report):,} counted as"
                f" accepted, {sum(reasons.values()):,} with a reason"
            )
        live = sum(service["live"] for service in self.report["services"].values())
        if live:
            found.append(f"{live} connections still count as live")
        if missing := EXPECTED - reasons.keys():
            found.append(f"no connection ended with {', '.join(sorted(missing))}")
        return found


def play(connections: int) -> int:
    """In a namespace of its own; return the exit status."""
    place = alone.scratch()
    assert place is not None
    alone.settle(place)
    # A way on which everything is lost: a device that nobody reads.
    for command in ("tuntap add silent mode tun", "addr add 10.9.0.1/24 dev silent"):
        subprocess.run(["ip", *command.split()], check=True)
    subprocess.run(["ip", "link", "set", "silent", "up"], check=True)
    far = multiprocessing.get_context("fork").Process(target=far_end, daemon=True)
    far.start()
    steering = Steering(place, workers=RELAYS)
    steering.start()
    began = time.monotonic()
    with steering.control() as control:
        answer = control.publish(table())
        if answer["type"] != "applied" or answer["failed"]:
            raise SystemExit(f"soak: the table was not applied: {answer}")
    soak = Soak(steering)
    soak.load(connections // 10, connections)
    before = Look(steering)
    soak.load(connections - connections // 10, connections)
    after = Look(steering)
    far.kill()
    for why, count in endings(soak.report).most_common():
        print(f"{count:9,} {why}")
    for name in after.files:
        print(
            f"{name}: {before.files.get(name)} → {after.files[name]} descriptors,"
            f" {before.memory.get(name, 0) / 2**20:.1f} → {after.memory[name] / 2**20:.1f} MiB"
        )
    faults = soak.faults(before, after)
    for fault in faults:
        print(f"FAILED: {fault}")
    if not faults:
        took = time.monotonic() - began
        print(f"{connections:,} connections in {took:.0f} s: all counted, nothing is left")
    if faults or steering.terminate():
        steering.kill()
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench soak", description=__doc__)
    parser.add_argument("--connections", type=int, default=100_000, metavar="N")
    arguments = parser.parse_args()
    if alone.scratch() is None:
        return alone.run("tests.bench.soak", sys.argv[1:])
    return play(arguments.connections)


if __name__ == "__main__":
    sys.exit(main())
