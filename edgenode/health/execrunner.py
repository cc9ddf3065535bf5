"""`edgenode exec-runner`: runs the operators' exec checks, as a user that can do nothing else.

Control asks for a check by its *name*; command and timeout come from this process's own reading
of the configuration. So whoever gets hold of control can have checks run, and no other command.
The socket is of type SOCK_SEQPACKET: a datagram with the name in, one with the observation out. A
connection that closes ends the run that it asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from edgenode.config import Config, ConfigError, ExecCheck, load
from edgenode.health.exec import ExecProbe
from edgenode.notify import Notifier
from edgenode.places import InUse, exec_socket, listen

log = logging.getLogger(__name__)

BACKLOG = 64

NAME_BYTES = 256
"""Longer than any name of a check."""

MOST = 32
"""Commands that run at the same time: the unit's tasks and memory are bounded, too. More of them
wait; one that waits too long for its turn could not be made, which is no failure of its target."""


class Commands:
    """The exec checks of the configuration file, read again when the file has changed.

    Control goes on with what it has until it is restarted. So a file that has become wrong changes
    nothing, and a check that is no longer in it can still be made: if not, control would be blind
    for it, and all be withdrawn for an edit that nobody has put in force.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self._path = path
        self._mark = _mark(path)
        self._probes = _probes(config)

    def probe(self, name: str) -> ExecProbe | None:
        """What runs the check of this name; None: there is none."""
        mark = _mark(self._path)
        if mark != self._mark:
            self._mark = mark
            try:
                self._probes |= _probes(load(self._path, check_secrets=False))
            except ConfigError as error:
                log.error("the configuration is wrong now, the old one serves: %s", error)
        return self._probes.get(name)


class Runner:
    """Answers for all connections. One run of a check at a time: a second one waits for it."""

    def __init__(self, find: Callable[[str], ExecProbe | None]) -> None:
        self._find = find
        self._turns: dict[str, asyncio.Lock] = {}
        self._room = asyncio.Semaphore(MOST)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, listener: socket.socket) -> None:
        """Until cancelled; then no command is left."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    client, _ = await loop.sock_accept(listener)
                except OSError as error:
                    log.error("a connection could not be taken: %s", error)
                    await asyncio.sleep(0.1)
                    continue
                task = loop.create_task(self._answer_all(client))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer_all(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with client, contextlib.suppress(OSError):
            client.setblocking(False)
            name = await loop.sock_recv(client, NAME_BYTES)
            while name:
                run = loop.create_task(self._run(name.decode("utf-8", "replace")))
                # What comes before the answer is the end of the connection, or out of order.
                hurry = loop.create_task(loop.sock_recv(client, NAME_BYTES))
                try:
                    await asyncio.wait({run, hurry}, return_when=asyncio.FIRST_COMPLETED)
                    if not run.done():
                        return
                    await loop.sock_sendall(client, json.dumps(run.result()).encode())
                    name = await hurry
                finally:
                    for task in (run, hurry):
                        task.cancel()
                    await asyncio.gather(run, hurry, return_exceptions=True)

    async def _run(self, name: str) -> Mapping[str, object]:
        probe = self._find(name)
        if probe is None:  # before a turn is made for whatever somebody asks for
            return {"error": f"there is no exec check {name} in its configuration"}
        async with self._turns.setdefault(name, asyncio.Lock()), self._room:
            probe = self._find(name) or probe  # its command may have changed while it waited
            try:
                return asdict(await probe())
            except OSError as error:
                return {"error": str(error)}


def main(path: Path, config: Config) -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    return asyncio.run(_main(path, config))


async def _main(path: Path, config: Config) -> int:
    address = exec_socket(config.node.run_dir)
    try:
        listener = listen(address, BACKLOG)
    except InUse:
        log.error("%s is in use: another exec-runner is running, stop it first", address)
        return 1
    except OSError as error:
        log.error("the socket %s cannot be made: %s", address, error.strerror or error)
        return 1
    notifier = Notifier()
    loop = asyncio.get_running_loop()
    serving = loop.create_task(Runner(Commands(path, config).probe).serve(listener))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    notifier.ready()
    while not serving.done():
        notifier.alive(time.monotonic())
        await asyncio.wait({serving}, timeout=notifier.interval)
    notifier.stopping()
    listener.close()
    address.unlink(missing_ok=True)
    if not serving.cancelled() and (failure := serving.exception()):
        raise failure
    return 0


def _probes(config: Config) -> dict[str, ExecProbe]:
    found = (check for check in config.checks if isinstance(check, ExecCheck))
    return {check.name: ExecProbe(check.command, check.timeout) for check in found}


def _mark(path: Path) -> tuple[int, int, int]:
    """What changes when the file is replaced or written. (0, 0, 0): it cannot be seen."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_size, status.st_mtime_ns)
