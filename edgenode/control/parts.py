"""The parts of control: those that live as long as the process, and how all are kept at work."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from edgenode import places
from edgenode.bgp.client import BirdClient
from edgenode.config import Config
from edgenode.control.decider import Decider
from edgenode.control.hooks import Hooks
from edgenode.control.wishes import Wishes
from edgenode.health.checker import Checker
from edgenode.lifeline.pulse import Pulse
from edgenode.logs import one_line
from edgenode.state import Event, Intents, Journal, Penalties
from edgenode.steering.link import SteeringLink

log = logging.getLogger(__name__)

AGAIN = 1.0
"""Seconds until a part that has failed is started again."""


@dataclass(frozen=True)
class Parts:
    """A `Control` uses them, and hands them on to the one that comes after it.

    So a new configuration ends no connection: the lifeline's (whose end is the end of control),
    BIRD's, steering's, and the tripwires of checks that did not change. And it forgets nothing:
    intents, penalties, the rules' memory.
    """

    wishes: Wishes
    journal: Journal
    decider: Decider
    checker: Checker
    hooks: Hooks
    lifeline: Pulse
    bird: BirdClient
    looker: BirdClient
    """Asks BIRD what takes time: a withdraw must not wait behind it."""
    steering: SteeringLink

    def change(self, config: Config) -> None:
        """Another configuration is in force. Nothing waits in here."""
        self.wishes.maintenance_file = config.node.maintenance_file
        self.decider.change(config)
        self.hooks.change(config.hooks)
        self.checker.change(config.checks)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, part in {
                "lifeline": self.lifeline.run,
                "steering": self.steering.run,
                "checks": self.checker.run,
                "ledger": self.decider.ledger.run,
            }.items():
                tasks.create_task(again_and_again(name, part), name=name)

    def note(self, kind: str, subject: str, text: str) -> None:
        """Something happened: to the log and the history."""
        note(self.journal, kind, subject, text)


def open_parts(config: Config) -> Parts:
    """What hangs on settings that only a restart can change. Raises StateError."""
    node = config.node
    state = places.control_state(node.state_dir)
    wishes, journal = Wishes(Intents(state), node.maintenance_file), Journal(state)
    # Commands of operators never run here: they would have our rights, and our keys.
    exec_runner = places.exec_socket(node.run_dir)
    return Parts(
        wishes=wishes,
        journal=journal,
        decider=Decider(
            config,
            wishes,
            Penalties(state),
            lambda kind, subject, text: note(journal, kind, subject, text),
        ),
        checker=Checker((), lambda verdict: None, exec_runner),
        hooks=Hooks((), node.name, exec_runner),
        lifeline=Pulse(places.lifeline_socket(node.run_dir)),
        bird=BirdClient(config.bgp.socket),
        looker=BirdClient(config.bgp.socket),
        steering=SteeringLink(places.steering_socket(node.run_dir)),
    )


def note(journal: Journal, kind: str, subject: str, text: str) -> None:
    """One line in the log, one event in the history."""
    subject, text = one_line(subject), one_line(text)
    log.info("%s %s: %s", kind, subject, text)
    journal.record(Event(time.time(), kind, subject, text))


async def again_and_again(name: str, part: Callable[[], Awaitable[None]]) -> None:
    """Run a part; what goes wrong in it by a fault of ours is loud, and ends no other part.

    If it is the heart that fails, no beat comes, and the lifeline acts.
    """
    while True:
        try:
            await part()
            return
        except Exception:
            log.exception("%s failed, and is started again in %g s", name, AGAIN)
        await asyncio.sleep(AGAIN)
