"""The parts of edgenode that may run a release of their own, and in which order they change. Pure.

| part | what runs it | it takes another release up by |
|---|---|---|
| exec | edgenode-exec.service | a restart: checks that are at work are made again |
| control | edgenode-control.service | a restart, within the lifeline's grace: no route moves |
| steering | edgenode-steering.service | a reload: the new one takes all connections over |
| lifeline | edgenode-lifeline.service | a restart, which withdraws: only where it is asked for |
| tools | edgenode-command.service | a reload: operators have the new command |

Control comes before steering: its tables are read by older and newer relays, and it can be had back
within the grace; a steering that has taken over connections gives them back by another takeover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    EXEC = "exec"
    CONTROL = "control"
    STEERING = "steering"
    LIFELINE = "lifeline"
    TOOLS = "tools"


USUAL = (Part.EXEC, Part.CONTROL, Part.STEERING, Part.TOOLS)
"""Those that change without anybody outside seeing it."""


@dataclass(frozen=True)
class Unit:
    """How systemd has a part."""

    name: str
    verb: str
    """By which it takes another release up; also where it has died meanwhile."""


UNITS = {
    Part.EXEC: Unit("edgenode-exec.service", "restart"),
    Part.CONTROL: Unit("edgenode-control.service", "restart"),
    Part.STEERING: Unit("edgenode-steering.service", "reload-or-restart"),
    Part.LIFELINE: Unit("edgenode-lifeline.service", "restart"),
    Part.TOOLS: Unit("edgenode-command.service", "reload"),
}


@dataclass(frozen=True)
class Standing:
    """A part and its releases; None: none, or not known."""

    part: Part
    kept: str | None
    """What it starts with, also after a reboot."""
    before: str | None = None
    """What was kept before that."""
    running: str | None = None
    trial: str | None = None
    """What it is on trial with, until the trial or the machine ends."""


def changes(standings: Sequence[Standing], wanted: str, parts: Sequence[Part]) -> list[Part]:
    """Which parts are to change so that these keep `wanted`, one after the other."""
    kept = {each.part: each for each in standings}
    return [
        part
        for part in Part
        if part in parts and (kept[part].kept, kept[part].trial) != (wanted, None)
    ]


def unused(standings: Sequence[Standing], there: Sequence[str]) -> list[str]:
    """Releases that no part starts with, runs, tries, or may go back to."""
    used = {
        version
        for each in standings
        for version in (each.kept, each.before, each.running, each.trial)
    }
    return [version for version in there if version not in used]
