"""`edgenode drain`, `undrain`, `withdraw`: what an operator wants of groups."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edgenode import places
from edgenode.cli.options import (
    EXIT_USAGE,
    AsJson,
    ConfigPath,
    config_path,
    console,
    errors,
    fail,
    load_config,
    show,
)
from edgenode.config import Config, Essentials, read_essentials

Groups = Annotated[
    list[str] | None, typer.Argument(metavar="[GROUP]...", help="Groups of the configuration.")
]
All = Annotated[bool, typer.Option("--all", help="All groups.")]
Reason = Annotated[str, typer.Option("--reason", help="Kept, and shown by `status`.")]

NOT_BOTH = "name groups or say --all, not both"
DONE_WITHIN = 2.0
"""Seconds that BIRD is given to do what was decided."""


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    for command in (drain, undrain, withdraw):
        app.command(rich_help_panel="Acting")(command)


def drain(
    context: typer.Context,
    groups: Groups = None,
    everything: All = False,
    reason: Reason = "",
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Move new users away without a failure, then withdraw.

    The groups' prefixes are first announced with the community GRACEFUL_SHUTDOWN (65535:0,
    RFC 8326) and a longer AS path, so that neighbors prefer another edge while this one goes on
    serving; after `drain_time` they are withdrawn. The intent is kept over restarts and reboots
    until `edgenode undrain`.
    """
    loaded = load_config(context, config, check_secrets=False)
    names = _chosen(loaded, groups, everything)
    _tell(loaded, {"groups": names, "kind": "drained", "reason": reason}, as_json)


def undrain(
    context: typer.Context,
    groups: Groups = None,
    everything: All = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Let checks and regions decide again, after `drain` or `withdraw`."""
    loaded = load_config(context, config, check_secrets=False)
    names = _chosen(loaded, groups, everything)
    _tell(loaded, {"groups": names, "kind": None}, as_json)


def withdraw(
    context: typer.Context,
    groups: Groups = None,
    everything: All = False,
    reason: Reason = "",
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw at once, until `edgenode undrain`.

    **`--all` works with control dead or hung, and with a damaged configuration**: BIRD is told
    straight at its control socket, and the intent is stored, so that a control that comes back
    announces nothing. Named groups are withdrawn by control.

    Exit status 1 where not all of that was done; the message says what was not.
    """
    if everything:
        if groups:
            fail(NOT_BOTH, EXIT_USAGE)
        _withdraw_all(config_path(context, config), reason, as_json)
        return
    loaded = load_config(context, config, check_secrets=False)
    names = _chosen(loaded, groups, everything)
    _tell(loaded, {"groups": names, "kind": "withdrawn", "reason": reason}, as_json)


def _withdraw_all(path: Path, reason: str, as_json: bool) -> None:
    """BIRD first, with nothing before it that could be wrong, or slow, or hang."""
    from edgenode.bgp.client import BirdError, BirdUnavailable
    from edgenode.bgp.emergency import withdraw_all

    found = read_essentials(path)
    failures = []
    known: tuple[str, ...] = ()
    try:
        known = withdraw_all(found.bird_socket)
    except (BirdUnavailable, BirdError) as error:
        failures.append(str(error))
    names = list(dict.fromkeys([*found.groups, *known]))
    failures += _remember(found, names, reason)
    if found.problem:
        failures.append(
            f"{found.problem}: BIRD was told on {found.bird_socket}, and the groups that are known "
            f"({', '.join(names) or 'none'}) are stored in {found.state_dir}, as far as that could "
            "be read, and by default"
        )
    # Control knows the groups of its configuration; of others it would know nothing.
    body = {"groups": found.groups or names, "kind": "withdrawn", "reason": reason}
    control = _try_control(found, body) if names else "not told: no group is known"

    def human() -> None:
        if not failures:
            console.print(f"withdrawn: {', '.join(names)}", markup=False)
        if control != "told":
            errors.print(f"edgenode: note: {control}", markup=False)

    show({"groups": names, "failures": failures, "control": control}, as_json, human)
    if failures:
        fail("; ".join(failures))


def _remember(found: Essentials, names: Sequence[str], reason: str) -> list[str]:
    """What went wrong. The disk may be full: that must not have come before BIRD."""
    from edgenode.state import Intent, IntentKind, Intents, StateError

    try:
        Intents(places.control_state(found.state_dir)).put(
            *(Intent(name, IntentKind.WITHDRAWN, time.time(), reason) for name in names)
        )
    except StateError as error:
        return [f"{error}: a control that lives, or comes back, may announce again"]
    return []


def _try_control(found: Essentials, body: Mapping[str, Any]) -> str:
    """`told`, or why not."""
    from edgenode.api.client import ApiError, ControlAway, call

    try:
        call(places.control_socket(found.run_dir), "POST", "/v1/intent", body, timeout=2.0)
    except (ControlAway, ApiError) as error:
        return str(error)
    return "told"


def _chosen(config: Config, groups: Sequence[str] | None, everything: bool) -> list[str]:
    known = [group.name for group in config.groups]
    if everything:
        if groups:
            fail(NOT_BOTH, EXIT_USAGE)
        return known
    if not groups:
        fail(f"name the groups, or say --all; there are: {', '.join(known)}", EXIT_USAGE)
    if unknown := [name for name in groups if name not in known]:
        fail(f"no such group: {', '.join(unknown)}; there are: {', '.join(known)}", EXIT_USAGE)
    return list(dict.fromkeys(groups))


def _tell(config: Config, body: dict[str, Any], as_json: bool) -> None:
    from edgenode.api.client import ApiError, ControlAway, call

    socket = places.control_socket(config.node.run_dir)
    try:
        answer = call(socket, "POST", "/v1/intent", body)
        told_at = time.monotonic()
        while body["kind"] and (late := _not_in_force(answer, body["groups"], told_at)):
            if time.monotonic() > told_at + DONE_WITHIN:
                break
            time.sleep(0.1)
            answer = call(socket, "GET", "/v1/status")
        else:
            late = []
    except (ApiError, ControlAway) as error:
        fail(str(error))
    told = [group for group in answer["groups"] if group["name"] in body["groups"]]

    def human() -> None:
        for group in told:
            reasons = "; ".join(group["reasons"])
            console.print(f"{group['name']}: {group['level']} ({reasons})", markup=False)

    show(told, as_json, human)
    if late:
        why = answer["bird"]["problem"] or "see edgenode status"
        fail(f"decided, but BIRD has not done it: {', '.join(late)} ({why})")


def _not_in_force(answer: Mapping[str, Any], names: Sequence[str], told_at: float) -> list[str]:
    """Those of the groups of which BIRD, asked since, has not said that it does as it is told."""
    age = answer["bird"]["asked_s_ago"]
    if age is None or age > time.monotonic() - told_at:
        return list(names)
    return [g["name"] for g in answer["groups"] if g["name"] in names and not g["in_force"]]
