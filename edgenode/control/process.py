"""`edgenode control` as a process: its lock, its signals, the order in which things start."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from edgenode import logs, places
from edgenode.api import configuration
from edgenode.api.server import AddressInUse, admin_app, metrics_app, serve_tcp, serve_unix
from edgenode.bgp.files import FileError
from edgenode.bgp.kernel import KernelError, prepare
from edgenode.config import Config, Endpoint, load
from edgenode.config.secrets import SecretError
from edgenode.control import dryrun
from edgenode.control.applier import UNPROVEN, Applier
from edgenode.control.parts import open_parts
from edgenode.control.texts import Chosen, Texts, choose
from edgenode.notify import Notifier
from edgenode.state import StateError
from edgenode.steering import descriptors, tablefile
from edgenode.steering.table import Table

log = logging.getLogger(__name__)


class ControlError(Exception):
    """Control cannot start; the text says why and what to do."""


def main(path: Path, *, dry: bool = False) -> int:
    """Run until SIGTERM or SIGINT; the exit status. Raises ConfigError, ControlError.

    `dry`: decide and log what the file says, and touch nothing (`dryrun`).
    """
    # The event loop waits for none of the threads longer than this (five times as long without).
    sys.setswitchinterval(0.001)
    # Writing a core of this process would keep its sockets open, and delay the lifeline.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Each check has a probe and a tripwire. Out of descriptors no check can be made, and what
    # cannot be made for long counts as down: the usual soft limit of 1024 is soon reached.
    descriptors.raise_limit()
    if dry:
        config = load(path)
        try:
            return dryrun.main(config, _last_table(config.node.state_dir))
        except (StateError, SecretError, FileError) as error:
            raise ControlError(str(error)) from None
    chosen = choose(path)
    if chosen.problem:
        log.error("%s", chosen.problem)
    config = chosen.config
    try:
        with _alone(config.node.run_dir):
            texts = Texts(places.control_state(config.node.state_dir))
            _doubt_what_is_new(chosen, texts)
            # Addresses and blackholes stand before anything is announced, and stay when we end.
            for group in config.groups:
                prepare(group)
            return _run_loop(path, chosen, texts)
    except (StateError, SecretError, KernelError, FileError, AddressInUse) as error:
        raise ControlError(str(error)) from None


def _doubt_what_is_new(chosen: Chosen, texts: Texts) -> None:
    """Before it is run: should it end us, the next start must know."""
    confirmed = texts.confirmed()
    if chosen.problem or confirmed in {None, chosen.text}:
        return
    try:
        texts.suspect(chosen.text, UNPROVEN)
    except StateError as error:
        log.warning("%s", error)


@contextmanager
def _alone(run_dir: Path) -> Iterator[None]:
    """Hold the lock of this node's control. Raises ControlError where another one has it."""
    path = places.control_lock(run_dir)
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ControlError(f"{path} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ControlError(f"another edgenode control runs on this node ({path})") from None
    try:
        yield
    finally:
        os.close(lock)


def _run_loop(path: Path, chosen: Chosen, texts: Texts) -> int:
    """Like `asyncio.run`, but the end does not wait for threads.

    One of them may hang in netlink: the lock has to be free for the control after us.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    status = loop.run_until_complete(_run(path, chosen, texts))
    logs.flush()
    os._exit(status)


async def _run(path: Path, chosen: Chosen, texts: Texts) -> int:
    loop = asyncio.get_running_loop()
    notifier = Notifier()
    node = chosen.config.node
    parts = open_parts(chosen.config)
    metrics = _Metrics()
    applier = Applier(path, chosen, texts, parts, _last_table(node.state_dir), metrics.serve)
    metrics.of = applier
    async with AsyncExitStack() as stack:
        stack.callback(parts.journal.close)
        admin = admin_app(lambda: applier.control)
        configuration.add_to(admin, applier)
        stack.push_async_callback(await serve_unix(admin, places.control_socket(node.run_dir)))
        await metrics.serve(chosen.config)
        stack.push_async_callback(metrics.stop)
        notifier.ready(f"node {node.name}")
        at_work = _signs_of_life(notifier, lambda: applier.control.at_work())
        signs = loop.create_task(at_work, name="signs of life")
        stack.callback(signs.cancel)
        # What is there now stays: a collection need not go through it, in a withdraw's way.
        gc.collect()
        gc.freeze()
        running = loop.create_task(applier.run(), name="control")
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        reloads: set[asyncio.Task[None]] = set()

        def reload() -> None:
            task = loop.create_task(applier.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        log.info("edgenode control runs for node %s", node.name)
        try:
            await running
        except asyncio.CancelledError:
            notifier.stopping()
            applier.end()
            log.info("ended by a signal: the lifeline waits for its grace, then withdraws")
    return 0


class _Metrics:
    """Metrics, served where the present configuration says."""

    of: Applier

    def __init__(self) -> None:
        self._at: Endpoint | None = None
        self._stop: Callable[[], Awaitable[None]] | None = None

    async def serve(self, config: Config) -> None:
        """Raises AddressInUse; then they are served where they were."""
        wanted = config.metrics.listen if config.metrics else None
        if wanted == self._at:
            return
        before = self._at
        if before and wanted and before.port == wanted.port:
            await self.stop()  # an address and all addresses cannot both be listened on
        try:
            stop = await self._listen(wanted) if wanted else None
        except AddressInUse:
            if before and self._at is None:
                self._at, self._stop = before, await self._listen(before)
            raise
        await self.stop()
        self._at, self._stop = wanted, stop

    async def _listen(self, at: Endpoint) -> Callable[[], Awaitable[None]]:
        return await serve_tcp(
            metrics_app(lambda: self.of.control.status(), lambda: self.of.control.refresh()), at
        )

    async def stop(self) -> None:
        stop, self._at, self._stop = self._stop, None, None
        if stop is not None:
            await stop()


async def _signs_of_life(notifier: Notifier, at_work: Callable[[], bool]) -> None:
    """As long as the event loop turns and control is at work."""
    while notifier.interval is not None:
        if at_work():
            notifier.alive(time.monotonic())
        await asyncio.sleep(notifier.interval)


def _last_table(state_dir: Path) -> Table | None:
    """What steering serves from now: it keeps it there. Nothing usable is no harm."""
    try:
        return tablefile.load(places.steering_table(state_dir))
    except (OSError, ValueError):
        return None
