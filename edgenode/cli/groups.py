"""`edgenode drain`, `undrain`, `withdraw`: what an operator wants of groups."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from edgenode.cli.options import (
    EXIT_USAGE,
    AsJson,
    ConfigPath,
    console,
    errors,
    fail,
    load_config,
    show,
)
from edgenode.config import Config

Groups = Annotated[
    list[str] | None, typer.Argument(metavar="[GROUP]...", help="Groups of the configuration.")
]
All = Annotated[bool, typer.Option("--all", help="All groups.")]
Reason = Annotated[str, typer.Option("--reason", help="Kept, and shown by `status`.")]


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

    **`--all` works with control dead or hung**: BIRD is told straight at its control socket, and
    the intent is stored, so that a control that comes back announces nothing. Named groups are
    withdrawn by control.
    """
    loaded = load_config(context, config, check_secrets=False)
    names = _chosen(loaded, groups, everything)
    if everything:
        _withdraw_all(loaded, names, reason, as_json)
    else:
        _tell(loaded, {"groups": names, "kind": "withdrawn", "reason": reason}, as_json)


def _withdraw_all(config: Config, names: list[str], reason: str, as_json: bool) -> None:
    from edgenode.api.client import ApiError, ControlAway, call
    from edgenode.bgp.client import BirdError, BirdUnavailable
    from edgenode.bgp.emergency import withdraw_all
    from edgenode.state import Intent, IntentKind, Intents, StateError

    failures = []
    try:
        withdraw_all(config.bgp.socket, config)
    except (BirdUnavailable, BirdError) as error:
        failures.append(str(error))
    # The disk may be full, and control may hang: neither must have come before BIRD.
    try:
        store = Intents(config.node.state_dir)
        store.put(*(Intent(n, IntentKind.WITHDRAWN, time.time(), reason) for n in names))
        store.close()
    except StateError as error:
        failures.append(f"{error}: a control that lives, or comes back, may announce again")
    body = {"groups": names, "kind": "withdrawn", "reason": reason}
    control = "told"
    try:
        call(config.node.run_dir / "control.sock", "POST", "/v1/intent", body, timeout=2.0)
    except (ControlAway, ApiError) as error:
        control = str(error)

    def human() -> None:
        if not failures:
            console.print(f"withdrawn: {', '.join(names)}", markup=False)
        if control != "told":
            errors.print(f"edgenode: note: {control}", markup=False)

    show({"groups": names, "failures": failures, "control": control}, as_json, human)
    if failures:
        fail("; ".join(failures))


def _chosen(config: Config, groups: Sequence[str] | None, everything: bool) -> list[str]:
    known = [group.name for group in config.groups]
    if everything:
        if groups:
            fail("name groups or say --all, not both", EXIT_USAGE)
        return known
    if not groups:
        fail(f"name the groups, or say --all; there are: {', '.join(known)}", EXIT_USAGE)
    if unknown := [name for name in groups if name not in known]:
        fail(f"no such group: {', '.join(unknown)}; there are: {', '.join(known)}", EXIT_USAGE)
    return list(dict.fromkeys(groups))


def _tell(config: Config, body: dict[str, Any], as_json: bool) -> None:
    from edgenode.api.client import ApiError, ControlAway, call

    try:
        answer = call(config.node.run_dir / "control.sock", "POST", "/v1/intent", body)
    except (ApiError, ControlAway) as error:
        fail(str(error))
    told = [group for group in answer["groups"] if group["name"] in body["groups"]]

    def human() -> None:
        for group in told:
            reasons = "; ".join(group["reasons"])
            console.print(f"{group['name']}: {group['level']} ({reasons})", markup=False)

    show(told, as_json, human)
