"""`edgenode control` as a process: its lock, its signals, the order in which things start."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from edgenode import logs, places
from edgenode.api.metrics import registry
from edgenode.api.server import AddressInUse, admin_app, metrics_app, serve_tcp, serve_unix
from edgenode.bgp.files import FileError
from edgenode.bgp.kernel import KernelError, prepare
from edgenode.config import Config
from edgenode.config.secrets import SecretError
from edgenode.control import dryrun
from edgenode.control.control import Control
from edgenode.control.wishes import Wishes
from edgenode.notify import Notifier
from edgenode.state import Intents, Journal, Penalties, StateError
from edgenode.steering import tablefile
from edgenode.steering.table import Table

log = logging.getLogger(__name__)


class ControlError(Exception):
    """Control cannot start; the text says why and what to do."""


def main(config: Config, *, dry: bool = False) -> int:
    """Run until SIGTERM or SIGINT; the exit status. Raises ControlError.

    `dry`: decide and log, and touch nothing (`dryrun`).
    """
    # Writing a core of this process would keep its sockets open, and delay the lifeline.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        if dry:
            return dryrun.main(config, _last_table(config.node.state_dir))
        with _alone(config.node.run_dir):
            # Addresses and blackholes stand before anything is announced, and stay when we end.
            for group in config.groups:
                prepare(group)
            return _run_loop(config)
    except (StateError, SecretError, KernelError, FileError, AddressInUse) as error:
        raise ControlError(str(error)) from None


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


def _run_loop(config: Config) -> int:
    """Like `asyncio.run`, but the end does not wait for threads.

    One of them may hang in netlink: the lock has to be free for the control after us.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    status = loop.run_until_complete(_run(config))
    logs.flush()
    os._exit(status)


async def _run(config: Config) -> int:
    loop = asyncio.get_running_loop()
    notifier = Notifier()
    state = places.control_state(config.node.state_dir)
    intents, journal = Intents(state), Journal(state)
    control = Control(
        config,
        Wishes(intents, config.node.maintenance_file),
        journal,
        _last_table(config.node.state_dir),
        Penalties(state),
    )
    async with AsyncExitStack() as stack:
        stack.callback(journal.close)
        stack.callback(intents.close)
        stop = await serve_unix(admin_app(control), places.control_socket(config.node.run_dir))
        stack.push_async_callback(stop)
        if config.metrics:
            metrics = metrics_app(registry(control.status), control.refresh)
            stack.push_async_callback(await serve_tcp(metrics, config.metrics.listen))
        notifier.ready(f"node {config.node.name}")
        signs = loop.create_task(_signs_of_life(notifier, control.at_work), name="signs of life")
        stack.callback(signs.cancel)
        running = loop.create_task(control.run(), name="control")
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        log.info("edgenode control runs for node %s", config.node.name)
        try:
            await running
        except asyncio.CancelledError:
            notifier.stopping()
            log.info("ended by a signal: the lifeline waits for its grace, then withdraws")
    return 0


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
