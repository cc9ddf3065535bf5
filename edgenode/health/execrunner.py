"""`edgenode exec-runner`: runs the operators' commands, as a user that can do nothing else.

Control asks for a check or a hook by its *name*; command and timeout come from this process's own
reading of the configuration. So whoever gets hold of control can have those run, and no other
command. The socket is of type SOCK_SEQPACKET: a datagram in, with the name of a check, or JSON
with that of a hook and the facts for its environment; one with the observation out. A connection
that closes ends the run that it asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import threading
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from edgenode import logs
from edgenode.config import Config, ConfigError, ExecCheck, Hook, loads, read_essentials
from edgenode.config.load import read
from edgenode.health.exec import ExecProbe
from edgenode.health.execclient import FACTS, version
from edgenode.health.kept import Kept
from edgenode.health.observation import printable
from edgenode.notify import Notifier
from edgenode.places import InUse, exec_socket, exec_state, listen

log = logging.getLogger(__name__)

BACKLOG = 64

QUESTION_BYTES = 16 * 1024
"""Longer than any question: the facts of a hook are cut before."""

MOST = 32
"""Commands that run at the same time: the unit's tasks and memory are bounded, too. More of them
wait; one that waits too long for its turn could not be made, which is no failure of its target."""


VERSIONS = 4096
"""Of checks that are remembered: far more than a file has."""

HOOKS_AT_ONCE = 8
"""Hooks that run at the same time, beside the checks: they never take a check's turn."""


class Commands:
    """The commands of the configuration file, which is read again when it has changed.

    A file that has become wrong, or is at the start, changes nothing: control, too, goes on with
    what it has had. And control may run with an older text of the file, before the new one is
    applied, or after it was undone: it says which version it means. So what was read is
    kept for the next start.
    """

    def __init__(self, path: Path, kept: Kept) -> None:
        """Raises ConfigError (of the file) where no text is of use."""
        self._path = path
        self._kept = kept
        self._mark = _mark(path)
        self._versions: dict[tuple[str, str], ExecProbe] = {}
        self._hook_versions: dict[tuple[str, str], Hook] = {}
        """Of this process's time: no hook is worth more."""
        before = kept.texts()
        for text in before:
            self._know(exec_checks(text))
        try:
            config = self._read()
        except ConfigError as error:
            if (last := _last(before)) is None:
                raise
            log.error("the configuration is wrong, the one that was read last serves: %s", error)
            config = last
            self._take(config)
        self.run_dir = config.node.run_dir

    def probe(self, name: str, version: str = "") -> ExecProbe | None:
        """What runs the check of this name, in this version if that was ever read, else as it is
        in the file; None: there is none."""
        self._read_again()
        return self._versions.get((name, version)) or self._probes.get(name)

    def hook(
        self, name: str, environment: Mapping[str, str], version: str = ""
    ) -> ExecProbe | None:
        """What runs the hook of this name, once, in the version that `probe` would choose."""
        self._read_again()
        hook = self._hook_versions.get((name, version)) or self._hooks.get(name)
        if hook is None:
            return None
        return ExecProbe(
            hook.command,
            hook.timeout,
            warning_is_up=False,
            unknown_is_down=True,
            environment=environment,
        )

    def _read_again(self) -> None:
        mark = _mark(self._path)
        if mark != self._mark:
            self._mark = mark
            try:
                self._read()
            except ConfigError as error:
                log.error("the configuration is wrong now, the old one serves: %s", error)

    def _read(self) -> Config:
        text = read(self._path)
        config = loads(text, self._path, check_secrets=False)
        self._take(config)
        # No check waits for the disk.
        threading.Thread(target=self._kept.keep, args=(text,), name="keep", daemon=True).start()
        return config

    def _take(self, config: Config) -> None:
        self._hooks = {hook.name: hook for hook in config.hooks}
        for hook in config.hooks:
            self._hook_versions.pop((hook.name, version(hook)), None)
            self._hook_versions[hook.name, version(hook)] = hook
        for oldest in list(self._hook_versions)[:-VERSIONS]:
            del self._hook_versions[oldest]
        self._probes = self._know([c for c in config.checks if isinstance(c, ExecCheck)])

    def _know(self, checks: Sequence[ExecCheck]) -> dict[str, ExecProbe]:
        probes = {}
        for check in checks:
            probes[check.name] = probe = _probe(check)
            self._versions.pop((check.name, version(check)), None)
            self._versions[check.name, version(check)] = probe
        for oldest in list(self._versions)[:-VERSIONS]:
            del self._versions[oldest]
        return probes


def exec_checks(text: str) -> list[ExecCheck]:
    """Those of a text that was right once. Not the rest: to judge it takes a second if it is long,
    and a start reads many texts."""
    try:
        every = tomllib.loads(text).get("checks", ())
        return [ExecCheck.model_validate(each) for each in every if each.get("type") == "exec"]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return []


def _last(texts: Sequence[str]) -> Config | None:
    """What the newest of use says; None: none is (they may be of another edgenode)."""
    for text in reversed(texts):
        with contextlib.suppress(ConfigError):
            return loads(text, check_secrets=False)
    return None


class Finds(Protocol):
    """Commands by their names."""

    def probe(self, name: str, version: str = "") -> ExecProbe | None:
        """What runs the check of this name; None: there is none."""

    def hook(
        self, name: str, environment: Mapping[str, str], version: str = ""
    ) -> ExecProbe | None:
        """What runs the hook of this name, once; None: there is none."""


class Runner:
    """Answers for all connections. One run of a check or hook at a time: a second one waits."""

    def __init__(self, commands: Finds) -> None:
        self._commands = commands
        self._turns: dict[tuple[str, str], asyncio.Lock] = {}
        self._checks_room = asyncio.Semaphore(MOST)
        self._hooks_room = asyncio.Semaphore(HOOKS_AT_ONCE)
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
            asked = await loop.sock_recv(client, QUESTION_BYTES)
            while asked:
                run = loop.create_task(self._run(asked))
                # What comes before the answer is the end of the connection, or out of order.
                hurry = loop.create_task(loop.sock_recv(client, QUESTION_BYTES))
                try:
                    await asyncio.wait({run, hurry}, return_when=asyncio.FIRST_COMPLETED)
                    if not run.done():
                        return
                    await loop.sock_sendall(client, json.dumps(run.result()).encode())
                    asked = await hurry
                finally:
                    for task in (run, hurry):
                        task.cancel()
                    await asyncio.gather(run, hurry, return_exceptions=True)

    async def _run(self, raw: bytes) -> Mapping[str, object]:
        try:
            asked = question(raw)
        except ValueError as error:
            return {"error": f"the question is not understood: {error}"}
        probe = self._find(asked)
        if probe is None:  # before a turn is made for whatever somebody asks for
            return {"error": f"there is no {asked.kind} {asked.name} in its configuration"}
        room = self._checks_room if asked.facts is None else self._hooks_room
        async with self._turns.setdefault((asked.kind, asked.name), asyncio.Lock()), room:
            probe = self._find(asked) or probe  # its command may have changed while it waited
            try:
                return asdict(await probe())
            except OSError as error:
                return {"error": str(error)}

    def _find(self, asked: Question) -> ExecProbe | None:
        if asked.facts is None:
            return self._commands.probe(asked.name, asked.version)
        return self._commands.hook(asked.name, asked.facts, asked.version)


@dataclass(frozen=True)
class Question:
    """What is to be run."""

    name: str
    facts: Mapping[str, str] | None = None
    """Of a hook; a check has none."""
    version: str = ""
    """The one that is meant; empty: the present one."""

    @property
    def kind(self) -> str:
        """For sentences."""
        return "exec check" if self.facts is None else "hook"


def question(raw: bytes) -> Question:
    """From a datagram: the name of a check, or JSON. Raises ValueError with a clause."""
    text = raw.decode("utf-8", "replace")
    if not text.startswith("{"):
        name, _, meant = text.partition("\0")
        return Question(name, version=meant)
    try:
        message = json.loads(text)
        name, facts = message["hook"], message["facts"]
        meant = str(message.get("version", ""))
        pairs = [(str(key), str(value)) for key, value in facts.items()]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it has no hook and facts ({type(error).__name__})") from None
    # Only what a hook is told, and nothing that a program would take for its own (LD_PRELOAD).
    unknown = sorted({key for key, _ in pairs} - set(FACTS))
    if unknown:
        raise ValueError(f"no hook is told {', '.join(unknown)[:80]}")
    told = {f"EDGENODE_{k.upper()}": printable(v) for k, v in pairs}
    return Question(str(name), told, meant)


def main(path: Path) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Raises ConfigError."""
    commands = Commands(path, Kept(exec_state(read_essentials(path).state_dir)))
    status = asyncio.run(_main(commands))
    logs.flush()
    return status


async def _main(commands: Commands) -> int:
    address = exec_socket(commands.run_dir)
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
    serving = loop.create_task(Runner(commands).serve(listener))
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


def _probe(check: ExecCheck) -> ExecProbe:
    return ExecProbe(
        check.command,
        check.timeout,
        warning_is_up=check.on_warning == "up",
        unknown_is_down=check.on_unknown == "down",
    )


def _mark(path: Path) -> tuple[int, int, int]:
    """What changes when the file is replaced or written. (0, 0, 0): it cannot be seen."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_size, status.st_mtime_ns)
