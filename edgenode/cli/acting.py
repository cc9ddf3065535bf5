"""What the commands that change something share: their options, and the talk with control."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from edgenode import places
from edgenode.cli.known import Known, meant_by, no_such_group
from edgenode.cli.options import EXIT_USAGE, console, errors, fail, show
from edgenode.cli.times import parse_given, parse_time
from edgenode.logs import one_line

Groups = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[GROUP|PREFIX]...",
        help="Groups of the configuration; a prefix stands for the group that it is of.",
    ),
]
All = Annotated[bool, typer.Option("--all", help="All groups.")]


Reason = Annotated[
    str,
    typer.Option(
        "--reason",
        metavar="TEXT",
        help="Kept, and shown by `status` and `why`.",
        callback=lambda text: one_line(text).strip(),
    ),
]
Author = Annotated[
    str,
    typer.Option(
        "--author",
        metavar="NAME",
        help="Who wants it. [default: $SUDO_USER, or the login name]",
        show_default=False,
    ),
]
For = Annotated[
    str | None,
    typer.Option(
        "--for", metavar="DURATION", help='Ends by itself after this: "90m", "2h", "30" (seconds).'
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until", metavar="TIME", help='Ends by itself then: "18:30", "2026-03-01T18:30" (UTC).'
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Even where no other site is known to announce a prefix.")
]

NOT_BOTH = "name groups or say --all, not both"
DONE_WITHIN = 2.0
"""Seconds that BIRD is given to do what was decided."""


def author(given: str) -> str:
    """Who asks: as told, else whoever became root by sudo, else the login name."""
    if name := given or os.environ.get("SUDO_USER"):
        return cut(name)
    try:
        return os.getlogin()
    except OSError:  # there is no terminal
        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            return str(os.getuid())


def cut(text: str) -> str:
    """On one line, and as long as control takes it.

    Else what the command stores and what it tells control would differ, and be heeded in turn.
    """
    from edgenode.api.requests import LONGEST

    return one_line(text).strip()[:LONGEST]


def bounded(reason: str) -> str:
    """A reason that status has room for; exit status 2 where it has not."""
    from edgenode.api.requests import LONGEST

    if len(reason) > LONGEST:
        what = f"--reason has {len(reason)} characters, and status has room for {LONGEST}"
        fail(f"{what}: nothing was changed, say it shorter", EXIT_USAGE)
    return reason


def end(lasting: str | None, until: str | None) -> float | None:
    """When an intent ends by itself, in seconds of the epoch; None: it does not."""
    now = time.time()
    if lasting is not None and until is not None:
        fail("say --for or --until, not both", EXIT_USAGE)
    try:
        if lasting is not None:
            if not (seconds := parse_given(lasting)):
                fail(f"--for {lasting} is over at once: nothing was changed", EXIT_USAGE)
            return now + seconds
        if until is None:
            return None
        moment = parse_time(until, now, future=True)
    except ValueError as error:
        fail(f"{'--for' if lasting is not None else '--until'}: {error}", EXIT_USAGE)
    if moment <= now:
        fail(f"--until {until} is in the past: nothing was changed", EXIT_USAGE)
    return moment


def chosen(node: Known, groups: Sequence[str] | None, everything: bool) -> list[str]:
    """The groups that were named, or all; exit status 2 where that makes no sense."""
    known = list(node.groups)
    if everything:
        if groups:
            fail(NOT_BOTH, EXIT_USAGE)
        return known
    if not groups:
        fail(f"name the groups, or say --all; groups: {', '.join(known)}", EXIT_USAGE)
    meant = meant_by(node, groups)
    if unknown := [subject for subject in groups if meant[subject] not in known]:
        fail(no_such_group(node, unknown), EXIT_USAGE)
    return list(dict.fromkeys(meant.values()))


def tell(node: Known, body: dict[str, Any], as_json: bool) -> None:
    """Have control do it, see that BIRD did, and print how the groups stand now."""
    from edgenode.api.client import ApiError, ControlAway, call

    socket = places.control_socket(node.run_dir)
    names = list(node.groups) if "*" in body["groups"] else body["groups"]
    try:
        answer = call(socket, "POST", "/v1/intent", body)
        notes = answer.get("notes", [])
        late: list[str] = []
        if body["kind"]:
            answer, late = settled(socket, answer, names)
    except (ApiError, ControlAway) as error:
        fail(str(error))
    told = [group for group in answer["groups"] if group["name"] in names]

    def human() -> None:
        for group in told:
            reasons = "; ".join(group["reasons"])
            console.print(f"{group['name']}: {group['level']} ({reasons})", markup=False)
        for note in notes:
            errors.print(f"edgenode: note: {note}", markup=False)

    show(told, as_json, human)
    if late:
        _not_done(answer, late)


def settled(
    socket: Path, answer: Mapping[str, Any], names: Sequence[str]
) -> tuple[Mapping[str, Any], list[str]]:
    """Give BIRD its moment: the newest status, and those of the groups that it has not done.

    Raises ApiError, ControlAway.
    """
    from edgenode.api.client import call

    told_at = time.monotonic()
    while late := _not_in_force(answer, names, told_at):
        if time.monotonic() > told_at + DONE_WITHIN:
            break
        time.sleep(0.1)
        answer = call(socket, "GET", "/v1/status")
    return answer, late


def _not_done(answer: Mapping[str, Any], late: Sequence[str]) -> NoReturn:
    why = answer["bird"]["problem"] or "see edgenode status"
    fail(f"decided, but BIRD has not done it: {', '.join(late)} ({why})")


def _not_in_force(answer: Mapping[str, Any], names: Sequence[str], told_at: float) -> list[str]:
    """Those of the groups of which BIRD, asked since, has not said that it does as it is told."""
    age = answer["bird"]["asked_s_ago"]
    if age is None or age > time.monotonic() - told_at:
        return list(names)
    return [g["name"] for g in answer["groups"] if g["name"] in names and not g["in_force"]]
