"""`edgenode degrade`, `drain`, `maintenance`, `withdraw`, `release`: what is wanted of groups."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from edgenode.cli.acting import (
    NOT_BOTH,
    All,
    Author,
    For,
    Force,
    Groups,
    Reason,
    Until,
    author,
    bounded,
    chosen,
    cut,
    end,
    tell,
)
from edgenode.cli.emergency import withdraw_everything
from edgenode.cli.known import Known, know
from edgenode.cli.options import EXIT_USAGE, AsJson, ConfigPath, config_path, fail

Towards = Annotated[
    str | None,
    typer.Option("--neighbor", metavar="NAME", help="Only towards this neighbor."),
]


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    for command in (degrade, drain, maintenance, withdraw, release):
        app.command(rich_help_panel="Acting")(command)
    app.command("undrain", rich_help_panel="Acting", hidden=True)(release)


def degrade(
    context: typer.Context,
    groups: Groups = None,
    everything: All = False,
    neighbor: Towards = None,
    reason: Reason = "",
    by: Author = "",
    lasting: For = None,
    until: Until = None,
    force: Force = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Announce as the lesser choice: a longer AS path and a higher MED.

    Users who have another site nearby move there; who has none is served here as before. It
    holds until `edgenode release`, or until its end.

    With `--neighbor` only that neighbor gets the lesser route: traffic moves from one provider to
    another, and none is lost.

    Examples:

        edgenode degrade web --reason "disk is slow" --for 2h

        edgenode degrade --all --neighbor transit-a --reason "loss at transit-a"
    """
    loaded = know(context, config)
    names = chosen(loaded, groups, everything)
    if neighbor is not None:
        _neighbor(loaded, neighbor)
    body = {"groups": names, "kind": "degraded", "neighbor": neighbor or "", "force": force}
    tell(loaded, body | _about(reason, by, lasting, until), as_json)


def drain(
    context: typer.Context,
    groups: Groups = None,
    everything: All = False,
    reason: Reason = "",
    by: Author = "",
    lasting: For = None,
    until: Until = None,
    force: Force = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Move new users away without a failure, then withdraw.

    The groups' prefixes are first announced with the community GRACEFUL_SHUTDOWN (65535:0,
    RFC 8326) and a longer AS path, so that neighbors prefer another edge while this one goes on
    serving. Control looks in BIRD whether each neighbor was really sent that (`edgenode why`
    shows it), waits until no byte of a user has come for `drain_idle`, `drain_time` at most,
    and withdraws. What is not announced when the drain begins is not announced for it.

    The intent is kept over restarts and reboots until `edgenode release`, or until its end. It
    is refused where the neighbors show that no other site announces a prefix: see `--force`.

    Examples:

        edgenode drain web --reason "kernel update"

        edgenode drain --all --until 06:00 --reason "rack move"
    """
    loaded = know(context, config)
    body = {"groups": chosen(loaded, groups, everything), "kind": "drained", "force": force}
    tell(loaded, body | _about(reason, by, lasting, until), as_json)


def maintenance(
    context: typer.Context,
    groups: Groups = None,
    everything: All = False,
    reason: Reason = "",
    by: Author = "",
    lasting: For = None,
    until: Until = None,
    force: Force = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Drain, and stay withdrawn until the end of the work.

    What happens is what `edgenode drain` does, under a name that monitoring can tell apart. With
    `--all` it is the node that is in maintenance: groups that a new configuration adds, too.

    The same by a file: while the configuration's `maintenance_file` is there, the node is in
    maintenance, and the file's first line is the reason.

    Examples:

        edgenode maintenance --all --for 2h --reason "memory is replaced"

        edgenode release --all
    """
    loaded = know(context, config)
    names = chosen(loaded, groups, everything)
    body = {"groups": ["*"] if everything else names, "kind": "maintenance", "force": force}
    tell(loaded, body | _about(reason, by, lasting, until), as_json)


def withdraw(
    context: typer.Context,
    groups: Groups = None,
    everything: All = False,
    reason: Reason = "",
    by: Author = "",
    lasting: For = None,
    until: Until = None,
    force: Force = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw at once, until `edgenode release`.

    **`--all` works with control dead or hung, and with a damaged configuration**: BIRD is told
    straight at its control socket, and the intent is stored, so that a control that comes back
    announces nothing. It asks nobody, and is never refused. Named groups are withdrawn by control,
    and not where the neighbors show that no other site announces a prefix: see `--force`.

    Exit status 1 where not all of that was done; the message says what was not.

    Examples:

        edgenode withdraw --all --reason "fire"

        edgenode withdraw web --for 30m --reason "looks wrong, looking"
    """
    if everything:
        if groups:
            fail(NOT_BOTH, EXIT_USAGE)
        moment = end(lasting, until)
        withdraw_everything(config_path(context, config), reason, author(by), moment, as_json)
        return
    loaded = know(context, config)
    body = {"groups": chosen(loaded, groups, everything), "kind": "withdrawn", "force": force}
    # It is not refused for its words.
    tell(loaded, body | _about(cut(reason), by, lasting, until), as_json)


def release(
    context: typer.Context,
    groups: Groups = None,
    everything: All = False,
    neighbor: Towards = None,
    by: Author = "",
    force: Annotated[
        bool,
        typer.Option("--force", help="Do not wait for hold_down or damping when it comes back."),
    ] = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Let checks and regions decide again, after any of the others.

    A group that comes back may have to wait for its `hold_down`, or because it has flapped so
    often that upstreams would hide it: `edgenode why` says for how long. A pause is ended by
    `edgenode resume`. `edgenode undrain` is the same command.

    Examples:

        edgenode release web

        edgenode release --all --neighbor transit-a
    """
    loaded = know(context, config)
    names = chosen(loaded, groups, everything)
    if neighbor is not None:
        _neighbor(loaded, neighbor)
    body: dict[str, Any] = {
        "groups": [*names, "*"] if everything and not neighbor else names,
        "kind": None,
        "neighbor": neighbor or "",
        "force": force,
        "author": author(by),
    }
    tell(loaded, body, as_json)


def _about(reason: str, by: str, lasting: str | None, until: str | None) -> dict[str, Any]:
    return {"reason": bounded(reason), "author": author(by), "until": end(lasting, until)}


def _neighbor(node: Known, name: str) -> None:
    if name not in node.neighbors:
        known = ", ".join(node.neighbors)
        fail(f"no such neighbor: {name}; there are: {known}", EXIT_USAGE)
