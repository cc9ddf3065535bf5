"""Another release for one part: on trial, and kept or left.

| killed | what runs, until a reboot | after one |
|---|---|---|
| before the drop-in | the old one | the old one |
| on trial | the new one, and `undo_after` ends that | the old one |
| after the link | the new one | the new one |
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgenode.software.errors import SoftwareError
from edgenode.software.parts import UNITS, Part
from edgenode.system.gate import Gate, Record, Seen

PAUSE = 0.5
"""Seconds between two looks."""
MORE = 120.0
"""Seconds that the way back may take, before the trial is ended by systemd."""


class Actions(Protocol):
    """What a trial does to a node; each raises SoftwareError. Real ones: `systemd`, `Store`."""

    def begin_trial(self, part: Part, file: Path) -> None: ...
    def end_trial(self, part: Part) -> None: ...
    def change_over(self, part: Part) -> None: ...
    def is_active(self, part: Part) -> bool: ...
    def running(self, part: Part) -> str | None: ...
    def undo_after(self, seconds: float) -> None: ...
    def no_undo(self) -> None: ...
    def file(self, version: str) -> Path: ...
    def keep(self, part: Part, version: str) -> None: ...
    def mark(self, version: str, why: str | None) -> None: ...


@dataclass(frozen=True)
class Patience:
    """In seconds."""

    within: float = 60.0
    """Until all is well again."""
    hold: float = 5.0
    """For which it stays so."""


class Failed(SoftwareError):
    """The part runs what it ran before."""


def change(
    part: Part,
    version: str,
    record: Record,
    look: Callable[[], Seen],
    actions: Actions,
    patience: Patience,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Try a release, and keep it. Raises Failed where it was left again, else SoftwareError.

    `record`: what worked before; asked of the release is no more. A part that does not run is not
    started for this: its link changes, and the next start is its trial.
    """
    if not actions.is_active(part):
        actions.keep(part, version)
        return
    actions.undo_after(patience.within + patience.hold + MORE)
    try:
        actions.begin_trial(part, actions.file(version))
        why = _judge(part, version, record, look, actions, patience, clock, sleep)
        if why is None:
            actions.keep(part, version)
    except SoftwareError as error:
        why = str(error)
    except BaseException:
        _go_back(part, version, actions)
        raise
    if why is None:
        actions.end_trial(part)
        actions.no_undo()
        return
    _go_back(part, version, actions)
    actions.mark(version, f"{part}: {why}")
    raise Failed(f"{part} goes on with what it ran: {version} {why}")


def _judge(
    part: Part,
    version: str,
    record: Record,
    look: Callable[[], Seen],
    actions: Actions,
    patience: Patience,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> str | None:
    """Why the release may not stay; None: it may."""
    actions.change_over(part)
    gate = Gate(record, clock(), patience.within, patience.hold)
    while True:
        verdict = gate.look(look(), clock())
        if verdict.stays is False:
            return f"does not do what the one before it did: {'; '.join(verdict.missing)}"
        if verdict.stays is True:
            found = actions.running(part)
            return None if found == version else f"was to run, and {found or 'none'} does"
        sleep(PAUSE)


def _go_back(part: Part, version: str, actions: Actions) -> None:
    """To the link, which names what was good. The trial's end by systemd stays where this fails."""
    actions.end_trial(part)
    if actions.running(part) not in (version, None):
        actions.no_undo()  # it never came to run, as where steering could not take over
        return
    try:
        actions.change_over(part)
    except SoftwareError as error:
        raise SoftwareError(
            f"{part} failed, and could not be had back either ({error}): see `systemctl status "
            f"{UNITS[part].name}`; it starts with what was good before"
        ) from None
    actions.no_undo()
