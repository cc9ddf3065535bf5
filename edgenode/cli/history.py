"""`edgenode history`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from edgenode import places
from edgenode.cli.known import Known, know, meant_by
from edgenode.cli.options import (
    EXIT_USAGE,
    AsJson,
    ConfigPath,
    console,
    errors,
    fail,
    show,
)
from edgenode.cli.times import parse_past

KINDS = (
    *("group", "check", "service", "intent", "waiting", "proof", "neighbor", "lifeline", "heart"),
    *("bird", "mesh", "path", "registry", "sibling", "evidence", "configuration", "control"),
)
"""Of events, as control's parts note them."""


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Looking")(history)


def history(
    context: typer.Context,
    config: ConfigPath = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many events.")] = 50,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help='From then on: "2h" (ago), "18:30" (UTC).'),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            metavar="GROUP|PREFIX",
            help="Of this group, and of what it hangs on; may be given again.",
        ),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help=f"Of this kind: {', '.join(KINDS)}; may be given again.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What happened on this node and when, newest last. It works with control dead.

    Each line has the time (UTC), the kind of event, its subject, and the text. The newest 20,000
    events are kept.

    Examples:

        edgenode history --since 2h --group web

        edgenode history --kind group --kind intent -n 20
    """
    from edgenode.state import StateError, Wanted, newest
    from edgenode.state.journal import MAX_EVENTS

    node = know(context, config)
    groups = list(meant_by(node, groups or ()).values())
    try:
        start = None if since is None else parse_past(since, time.time())
    except ValueError as error:
        fail(f"--since: {error}", EXIT_USAGE)
    if unknown := sorted(set(kinds or ()) - set(KINDS)):
        fail(f"no such kind: {', '.join(unknown)}; there are: {', '.join(KINDS)}", EXIT_USAGE)
    wanted = Wanted(start, tuple(kinds or ()), _subjects(node, groups))
    try:
        state = places.control_state(node.state_dir)
        events = newest(state, min(count, MAX_EVENTS), wanted)
    except StateError as error:
        fail(str(error))

    def human() -> None:
        if not events:
            errors.print("edgenode: note: nothing such is in the history", markup=False)
        if strange := sorted(set(groups) - node.groups.keys()):
            what = f"the configuration has no group {', '.join(strange)}"
            errors.print(f"edgenode: note: {what}", markup=False)
        for event in events:
            at = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds")
            console.print(f"{at}  {event.kind:9} {event.subject}: {event.text}", markup=False)

    show([vars(event) for event in events], as_json, human)


def _subjects(node: Known, groups: list[str]) -> tuple[tuple[str, str], ...]:
    """What the events of groups are about: themselves, the node's intents, checks, services."""
    found: list[tuple[str, str]] = []
    for name in groups:
        found += [("", name), ("intent", "*")]
        if config := node.config:
            found += [("check", check) for check in sorted(config.checks_of(name))]
            services = [service.name for service in config.services_of(name)]
            found += [(kind, each) for each in services for kind in ("service", "evidence")]
    return tuple(dict.fromkeys(found))
