"""Users and workers for `./run bench upgrade`, each in a process of its own.

The body that all transfers have is random and known, so a byte that is lost, doubled or out of its
place is seen by its digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import random
import select
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

HOST, USER, WORKER, PORT = "127.0.0.1", "127.0.0.2", 7001, 8001
BODY = random.Random(20).randbytes(1 << 20)
DIGEST = hashlib.sha256(BODY).hexdigest()
STALLED = 4 * BODY
PIECE, PACE = 16 * 1024, 0.1
"""Each transfer gets so many bytes each so many seconds: nothing is to be short but time."""
PAUSE = 0.001
"""Seconds between an answer and the next question of a session that looks for stalls."""
PATIENCE = 60.0


# --- the worker: `b` asks for the body, piece by piece; `s` for a large one at once; else an echo


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        header = await reader.readexactly(16)
        await reader.readexactly(header[15])
        order = await reader.readexactly(1)
        if order == b"b":
            for at in range(0, len(BODY), PIECE):
                writer.write(BODY[at : at + PIECE])
                await writer.drain()
                await asyncio.sleep(PACE)
        elif order == b"s":
            writer.write(STALLED)
            await writer.drain()
        else:
            writer.write(order)
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.write_eof()
        await reader.read()
    except (OSError, asyncio.IncompleteReadError):
        return  # the user's end finds out
    finally:
        writer.close()


def work(_told: Connection) -> None:
    async def run() -> None:
        server = await asyncio.start_server(_serve, HOST, WORKER, backlog=4096)
        await server.serve_forever()

    asyncio.run(run())


# --- users: transfers, new connections, stalled and idle ones


class Users:
    """All that is carried over each upgrade; `counts` says what there was, `lost` what was lost."""

    def __init__(self, idle: int, transfers: int, stalled: int, rate: float) -> None:
        self._idle, self._transfers, self._stalled = idle, transfers, stalled
        self._rate = rate
        self._stopped, self._arrived = asyncio.Event(), asyncio.Event()
        self._all = idle + transfers + stalled
        self.connections = 0
        self.whole = 0
        self.lost: list[str] = []

    async def run(self, told: Connection) -> None:
        async with asyncio.TaskGroup() as group:
            for order, count in ((b"e", self._idle), (b"s", self._stalled)):
                for _ in range(count):
                    group.create_task(self._held(order))
            for _ in range(self._transfers):
                group.create_task(self._transfer())
            group.create_task(self._arrivals(group))
            await self._arrived.wait()
            told.send("ready")
            await asyncio.to_thread(told.recv)
            self._stopped.set()
        told.send({"connections": self.connections, "bodies": self.whole, "lost": self.lost})

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        streams = await asyncio.open_connection(HOST, PORT, local_addr=(USER, 0), limit=1 << 16)
        self.connections += 1
        if self.connections >= self._all:
            self._arrived.set()
        return streams

    async def _transfer(self) -> None:
        await asyncio.sleep(random.random() * len(BODY) / PIECE * PACE)
        while not self._stopped.is_set():
            await self._try("a transfer", self._body)

    async def _body(self) -> None:
        reader, writer = await self._open()
        writer.write(b"b")
        if hashlib.sha256(await reader.read(-1)).hexdigest() != DIGEST:
            raise ValueError("its bytes are not those that were sent")
        self.whole += 1
        writer.close()

    async def _arrivals(self, group: asyncio.TaskGroup) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            group.create_task(self._try("a new connection", self._ask))
            due += 1 / self._rate
            await asyncio.sleep(due - time.monotonic())

    async def _ask(self) -> None:
        reader, writer = await self._open()
        question = os.urandom(8).hex().encode()
        writer.write(b"e" + question)
        writer.write_eof()
        if await reader.read(-1) != b"e" + question:
            raise ValueError("another answer")
        writer.close()

    async def _held(self, order: bytes) -> None:
        """An idle one, or one that reads nothing until the end."""

        async def hold() -> None:
            reader, writer = await self._open()
            writer.write(order)
            await self._stopped.wait()
            if order == b"e":
                writer.write_eof()
            if await reader.read(-1) != (STALLED if order == b"s" else order):
                raise ValueError("another answer")
            writer.close()

        await self._try("a stalled reader" if order == b"s" else "an idle connection", hold)

    async def _try(self, what: str, one: Callable[[], Any]) -> None:
        try:
            async with asyncio.timeout(PATIENCE * 5):
                await one()
        except (OSError, ValueError, TimeoutError) as error:
            self.lost.append(f"{what}: {error!r}")


def use(told: Connection, *numbers: Any) -> None:
    asyncio.run(_use(told, *numbers))


async def _use(told: Connection, *numbers: Any) -> None:
    await Users(*numbers).run(told)


# --- sessions that look for stalls


def look(told: Connection, sessions: int) -> None:
    """Ask all the time; when told, say the longest time that an answer took since the last time."""
    os.setpriority(os.PRIO_PROCESS, 0, -15)
    users, poll = {}, select.poll()
    for _ in range(sessions):
        user = socket.create_connection((HOST, PORT), PATIENCE, (USER, 0))
        user.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        users[user.fileno()] = user
        poll.register(user, select.POLLIN)
    poll.register(told, select.POLLIN)
    asked = dict.fromkeys(users, 0.0)  # 0: to be asked
    longest = 0.0
    while True:
        now = time.monotonic()
        for fd, at in asked.items():
            if not at:
                users[fd].sendall(b"e")
                asked[fd] = now
        ready = [fd for fd, _ in poll.poll(PATIENCE * 1000)]
        now = time.monotonic()
        for fd in ready:
            if fd in users:
                if users[fd].recv(1) != b"e":
                    told.send("a session that looks for stalls was lost")
                    return
                longest = max(longest, now - asked[fd])
                asked[fd] = 0.0
        if told.fileno() in ready:
            if told.recv() == "end":
                for user in users.values():
                    user.shutdown(socket.SHUT_WR)
                    while user.recv(16):
                        pass
                    user.close()
                return
            told.send(longest)
            longest = 0.0
        time.sleep(PAUSE)


class Process:
    """One of the above; `ask` sends it a word and returns its answer."""

    def __init__(self, run: Callable[..., None], *arguments: Any) -> None:
        self._told, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=run, args=(theirs, *arguments), daemon=True)
        self._process.start()

    def tell(self, word: str) -> None:
        self._told.send(word)

    def hear(self, patience: float = PATIENCE) -> Any:
        """Raises TimeoutError, and EOFError if it has ended."""
        if not self._told.poll(patience):
            raise TimeoutError("no answer")
        return self._told.recv()

    def join(self) -> None:
        self._process.join(PATIENCE)

    def end(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.join()
