"""`edgenode control --dry-run`: decide and log, touch nothing.

The same control, of which every edge leads nowhere: its run and state directories are scratch ones
in which nobody listens, so there is no BIRD to tell, no lifeline to beat for, no steering to hand
a table to. What operators have asked for is read off a copy. Addresses, blackholes and the mesh's
device are left alone, siblings are told nothing and not heard, and no hook is run. It looks,
though: checks and regions are probed as always, exec checks by the node's exec-runner. It may run
beside the control that is at work.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from edgenode import logs, places
from edgenode.bgp.announcer import Announcer
from edgenode.config import Config
from edgenode.control.control import Control
from edgenode.control.mesh import MeshKeeper
from edgenode.control.parts import Parts, open_parts
from edgenode.state import StateError
from edgenode.steering.table import Table

log = logging.getLogger(__name__)

ABOUT_NOBODY = {"heart", "lifeline", "bird", "proof", "neighbor"}
"""Kinds of events that only tell of edges that lead nowhere."""


def main(config: Config, last_table: Table | None) -> int:
    """Until SIGTERM or SIGINT; the exit status. Raises SecretError, StateError."""
    with tempfile.TemporaryDirectory(prefix="edgenode-dry-") as scratch:
        return asyncio.run(_run(config, leading_nowhere(config, Path(scratch)), last_table))


def leading_nowhere(config: Config, scratch: Path) -> Config:
    """The configuration with everything that could be touched moved to an empty directory.

    Raises StateError.
    """
    run_dir, state_dir = scratch / "run", scratch / "state"
    real, stand_in = places.exec_socket(config.node.run_dir), places.exec_socket(run_dir)
    stand_in.parent.mkdir(parents=True)
    stand_in.symlink_to(real)  # exec checks are looks, and made as always
    places.control_state(state_dir).mkdir(parents=True)
    for stored in places.control_state(config.node.state_dir).glob("*.sqlite"):
        _copy(stored, places.control_state(state_dir) / stored.name)
    mesh = config.mesh and config.mesh.model_copy(
        update={"peers": tuple(p.model_copy(update={"edge": False}) for p in config.mesh.peers)}
    )
    bgp = {"socket": scratch / "nobody.ctl", "config": scratch / "bird.conf"}
    return config.model_copy(
        update={
            "node": config.node.model_copy(update={"run_dir": run_dir, "state_dir": state_dir}),
            "bgp": config.bgp.model_copy(update=bgp),
            "hooks": (),
            "mesh": mesh,  # siblings are told nothing, and not heard
        }
    )


def _copy(stored: Path, copy: Path) -> None:
    """As it is at one moment, whoever writes it. Raises StateError."""
    try:
        with (
            closing(sqlite3.connect(f"{stored.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise StateError(f"{stored} cannot be read ({error})") from None


class Rehearsal(Control):
    """Control whose mesh is another one's."""

    def __init__(self, config: Config, parts: Parts, last_table: Table | None) -> None:
        """Raises SecretError, FileError."""
        announcer = Announcer(config, parts.bird, towards=parts.wishes.towards)
        super().__init__(config, parts, announcer=announcer, last_table=last_table)
        self._mesh = MeshKeeper(config.model_copy(update={"mesh": None}), self._note)


async def _run(config: Config, moved: Config, last_table: Table | None) -> int:
    _say_only_what_counts()
    log.info("dry run of node %s: what is decided is logged, and touches nothing", config.node.name)
    parts = open_parts(moved)
    control = Rehearsal(moved, parts, last_table)

    async def both() -> None:
        await asyncio.gather(parts.run(), control.run())

    loop = asyncio.get_running_loop()
    running = loop.create_task(both(), name="control")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        for group in control.status()["groups"]:
            log.info(
                "at the end group %s would be %s: %s",
                group["name"],
                group["level"],
                "; ".join(group["reasons"]),
            )
    finally:
        parts.journal.close()
    logs.flush()
    return 0


def _say_only_what_counts() -> None:
    for name in ("edgenode.bgp.announcer", "edgenode.lifeline.pulse"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    def counts(record: logging.LogRecord) -> bool:
        kind = record.args[0] if isinstance(record.args, tuple) and record.args else ""
        return kind not in ABOUT_NOBODY

    logging.getLogger("edgenode.control.parts").addFilter(counts)
