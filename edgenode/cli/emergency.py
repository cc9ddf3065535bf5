"""What works with control dead: `edgenode withdraw --all`, `edgenode pause`, `edgenode resume`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from edgenode import places
from edgenode.cli.acting import Author, For, Reason, Until, author, cut, end, settled
from edgenode.cli.options import AsJson, ConfigPath, config_path, console, errors, fail, show
from edgenode.config import Essentials, read_essentials


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    for command in (pause, resume):
        app.command(rich_help_panel="Acting")(command)


def withdraw_everything(
    path: Path, reason: str, by: str, until: float | None, as_json: bool
) -> None:
    """BIRD first, with nothing before it that could be wrong, or slow, or hang."""
    from edgenode.bgp.client import BirdError, BirdUnavailable
    from edgenode.bgp.emergency import withdraw_all
    from edgenode.state import NODE, Intent, IntentKind

    reason = cut(reason)
    found = read_essentials(path)
    failures, notes = [], []
    known: tuple[str, ...] = ()
    reached = True
    at_bird = f"BIRD was told on {found.bird_socket}"
    try:
        known = withdraw_all(found.bird_socket)
    except (BirdUnavailable, BirdError) as error:
        failures.append(str(error))
        reached = False
        at_bird = f"BIRD was looked for on {found.bird_socket}"
    names = list(dict.fromkeys([*found.groups, *known]))
    now, kind = time.time(), IntentKind.WITHDRAWN
    # All that control has: the file may name others, which it would refuse, or not all of them.
    about = {"reason": reason, "author": by, "until": until}
    body = {"groups": [NODE], "kind": "withdrawn", "force": True, **about}
    control, answer = _try_control(found, body, even_late=True)
    # The disk may be full, or hang: that must not have come before BIRD, nor before a control
    # that lives, which would soon give BIRD its announcements back.
    intents = [Intent(name, kind, now, reason, until=until, author=by) for name in names]
    unsaved = _store(found, _not_yet_withdrawn(found, intents))
    failures += [
        f"{problem}: a control that lives, or comes back, may announce again" for problem in unsaved
    ]
    stored = [] if unsaved else names
    if (failures or found.problem) and (done := _done_by_control(found, answer)):
        # It was told, and BIRD did: what we have guessed from a damaged file is no matter.
        names = list(dict.fromkeys([*done, *names]))
        notes = [note for note in (found.problem, *failures) if note]
        failures, reached = [], True
    elif found.problem:
        failures.append(
            f"{found.problem}: {at_bird}, and the groups that are known "
            f"({', '.join(names) or 'none'}) are for {found.state_dir}, as far as that could be "
            "read, and by default"
        )

    def human() -> None:
        if not failures:
            console.print(f"withdrawn: {', '.join(names)}", markup=False)
        for note in notes if control == "told" else [control]:
            errors.print(f"edgenode: note: {note}", markup=False)
        if stored and not reached:
            what = "the withdraw is stored, and holds when BIRD or control is back, until a release"
            errors.print(f"edgenode: note: {what}: {', '.join(stored)}", markup=False)

    told = {"groups": names, "stored": stored, "failures": failures, "control": control}
    told["notes"] = notes
    show(told, as_json, human)
    if failures:
        fail("; ".join(failures))


def pause(
    context: typer.Context,
    reason: Reason = "",
    by: Author = "",
    lasting: For = None,
    until: Until = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Freeze the automation: announcements are held as they are.

    For an incident in which the checks are wrong and every proxy is right. Whatever checks and
    regions say, no group is withdrawn, degraded or announced by itself; `status`, `why`, the
    metrics and the log say so loudly. Operators' commands go on working, but for one thing:
    nothing is announced that is not.

    **What a pause does not hold** is what the lifeline takes away: if control dies or hangs, the
    announcements go after `grace` as ever, and they stay away until `edgenode resume`. With control
    dead the pause is stored, and holds when control is back.

    Examples:

        edgenode pause --reason "checker network is broken" --for 1h

        edgenode resume
    """
    from edgenode.state import NODE, Intent, IntentKind

    path, reason = config_path(context, config), cut(reason)
    who, moment = author(by), end(lasting, until)
    intent = Intent(NODE, IntentKind.PAUSED, time.time(), reason, until=moment, author=who)
    body = {"groups": [NODE], "kind": "paused", "reason": reason, "author": who, "until": moment}
    stored = "the pause is stored, and holds when control is back"
    _node(path, body, [intent], "paused: announcements are held as they are", stored, as_json)


def resume(
    context: typer.Context, by: Author = "", config: ConfigPath = None, as_json: AsJson = False
) -> None:
    """End a pause: checks and regions decide again, and at once.

    Examples:

        edgenode resume
    """
    body = {"groups": ["*"], "kind": None, "only": "paused", "author": author(by)}
    path, done = config_path(context, config), "resumed: checks and regions decide"
    _node(path, body, [], done, "no pause holds when control is back", as_json)


def _node(
    path: Path,
    body: Mapping[str, Any],
    store: Sequence[Any],
    done: str,
    stored: str,
    as_json: bool,
) -> None:
    """A pause on the disk first, which a control that hangs reads when it is back; then control.

    Its end the other way round: who ended it is known to a control that lives by being told.
    """
    found = read_essentials(path)
    failures = _store(found, store)
    control, answer = _try_control(found, body)
    notes = [note for note in (found.problem, *answer.get("notes", [])) if note]
    if control == "told":
        failures = []  # it holds, and control goes on trying to store it
    elif not store:
        failures = _forget_pause(found)

    def human() -> None:
        if not failures:
            console.print(done if control == "told" else stored, markup=False)
        for note in notes:
            errors.print(f"edgenode: note: {note}", markup=False)
        if control != "told":
            meanwhile = "" if failures else "; until then the lifeline alone decides"
            errors.print(f"edgenode: note: {control}{meanwhile}", markup=False)

    show({"failures": failures, "control": control}, as_json, human)
    if failures:
        fail("; ".join(failures))


def _store(found: Essentials, intents: Sequence[Any]) -> list[str]:
    """What went wrong."""
    from edgenode.state import Intents, StateError

    if not intents:
        return []  # and no directory is made where none of ours may be
    try:
        Intents(places.control_state(found.state_dir)).put(*intents)
    except StateError as error:
        return [str(error)]
    return []


def _not_yet_withdrawn(found: Essentials, intents: Sequence[Any]) -> Sequence[Any]:
    """Those that control has not stored itself."""
    from edgenode.state import Intents, StateError

    try:
        there = Intents(places.control_state(found.state_dir)).all()
    except StateError:
        return intents
    known = {key: (intent.kind, intent.until) for key, intent in there.items()}
    return [intent for intent in intents if known.get(intent.key) != (intent.kind, intent.until)]


def _forget_pause(found: Essentials) -> list[str]:
    from edgenode.state import NODE, IntentKind, Intents, StateError

    try:
        Intents(places.control_state(found.state_dir)).clear((NODE, IntentKind.PAUSED.value))
    except StateError as error:
        return [str(error)]
    return []


def _done_by_control(found: Essentials, answer: Mapping[str, Any]) -> list[str]:
    """All groups of a control that was told, where BIRD, asked since, announces none; else none."""
    from edgenode.api.client import ApiError, ControlAway

    names = [group["name"] for group in answer.get("groups", [])]
    try:
        answer, late = settled(places.control_socket(found.run_dir), answer, names)
    except (ApiError, ControlAway, KeyError):
        return []
    withdrawn = all(group["level"] == "withdrawn" for group in answer["groups"])
    return names if withdrawn and not late else []


def _try_control(
    found: Essentials, body: Mapping[str, Any], even_late: bool = False
) -> tuple[str, Mapping[str, Any]]:
    """`told`, or why not; and what control answers."""
    from edgenode.api.client import ApiError, ControlAway, call

    socket = places.control_socket(found.run_dir)
    try:
        answer = call(socket, "POST", "/v1/intent", body, timeout=2.0, even_late=even_late)
    except (ControlAway, ApiError) as error:
        return str(error), {}
    return "told", answer
