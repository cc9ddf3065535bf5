"""`edgenode system`: the appliance's two slots."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from edgenode import logs, places
from edgenode.cli.known import know
from edgenode.cli.options import AsJson, ConfigPath, config_path, console, errors, fail, show
from edgenode.cli.tables import coloured, row, table
from edgenode.cli.times import parse_given
from edgenode.system.errors import UpdateError

app = typer.Typer(
    name="system",
    help="""The appliance's system: two slots, of which one runs.

An update goes into the other slot, from a source whose list of files the operator's release key
has signed. A new version is on trial: where it does not come up, or edgenode does not do on it what
it did before, the node starts the version from before by itself.

The source is `source = "https://…"`, or a directory, in /etc/edgenode/updates.toml.
""",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_PAUSE = 2.0


def add_to(parent: typer.Typer) -> None:
    """Register the subcommands."""
    parent.add_typer(app, rich_help_panel="Configuration")


def _seconds(value: str | float) -> float:
    try:
        return parse_given(str(value))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Within = Annotated[
    float, typer.Option("--drain-within", parser=_seconds, metavar="TIME", help="For the drain.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Drain though no other site is known to announce a prefix.")
]
NoDrain = Annotated[
    bool,
    typer.Option("--no-drain", help="Reboot without: where control is dead. Users are cut off."),
]


@app.command()
def status(as_json: AsJson = False) -> None:
    """Which versions are in the slots, which runs, and what becomes of a trial.

    A slot is *good* when its version was found well, *on trial* while it has tries left, *failed*
    when it has none. Exit status 1 where this is no appliance.
    """
    with _refusals():
        from edgenode.system import machine

        this = machine.this()
        found = this.slots()
    data: dict[str, Any] = {
        "running": this.running,
        "slots": [
            {
                "version": slot.version,
                "running": slot.running,
                "state": slot.state,
                "tries_left": slot.entry.left if slot.entry else None,
                "tries_done": slot.entry.done if slot.entry else None,
            }
            for slot in found
        ],
    }

    def human() -> None:
        shown = table("SLOT", "VERSION", "STATE", "TRIES LEFT", "")
        for number, slot in enumerate(found):
            left = slot.entry.left if slot.entry else None
            row(
                shown,
                "ab"[number] if number < 2 else str(number),
                slot.version or "-",
                coloured(slot.state),
                "-" if left is None else str(left),
                "runs" if slot.running else "",
            )
        console.print(shown)

    show(data, as_json, human)


@app.command()
def update(
    context: typer.Context,
    version: Annotated[
        str | None,
        typer.Option("--version", metavar="VERSION", help="This one. [default: the newest]"),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source", metavar="URL|DIRECTORY", help="Instead of the one in updates.toml."
        ),
    ] = None,
    reboot: Annotated[
        bool, typer.Option("--reboot", help="Then drain, and start the new version.")
    ] = False,
    within: Within = 300.0,
    force: Force = False,
    no_drain: NoDrain = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Install a newer version into the other slot; with `--reboot` start it.

    Nothing is written unless the release key has signed the source's list, and the version that
    runs goes on whatever happens. Refused are: an update while the version that runs is on trial
    itself (it would overwrite the only good one), an older version, and one that failed here.

    With `--reboot` the node is drained first (`edgenode drain` says how), and announces again once
    it is up: the new version, or the one from before. What worked until then is recorded; the new
    version has to do the same, for half a minute, or it is left.

    Exit status 0: done (with `--reboot`: the reboot is on its way), or there is nothing newer.

    Examples:

        edgenode system update --reboot

        edgenode system update --version 1.4.2 --source https://updates.example.net/edgenode
    """
    with _refusals():
        from edgenode.system import machine
        from edgenode.system.install import install
        from edgenode.system.slots import chosen
        from edgenode.system.source import address, configured, offered

        this = machine.this()
        with machine.locked(machine.STATE):
            where = configured() if source is None else address(source)
            release = chosen(offered(where), version, this.running, this.entries())
            if release is None:
                _tell(this.running, "newest", f"{this.running} runs, and is the newest.", as_json)
                return
            node = _node(context, config)
            _record(node)
            new = install(this, release, where)
            text = f"{release.version} is {'installed' if new else 'there already'}"
            if reboot:
                _leave(node, f"system update to {release.version}", within, force, no_drain)
                text += ": the node reboots into it."
            else:
                text += ": it starts at the next boot; `--reboot` drains and reboots."
            _tell(release.version, "rebooting" if reboot else "installed", text, as_json)


@app.command()
def rollback(
    context: typer.Context,
    within: Within = 300.0,
    force: Force = False,
    no_drain: NoDrain = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Go back to the version in the other slot: drain, and reboot into it.

    The version that runs counts as failed on this node from then on: it is started only where the
    other one cannot be, and is not installed again. Ship a higher one.

    Refused where the other slot has no version that was found good here.
    """
    with _refusals():
        from edgenode.system import machine
        from edgenode.system.slots import other

        this = machine.this()
        with machine.locked(machine.STATE):
            version = other(this.slots())
            node = _node(context, config)
            _leave(
                node,
                f"system rollback to {version}",
                within,
                force,
                no_drain,
                before=partial(this.give_up, this.running),
            )
            _tell(version, "rebooting", f"The node reboots into {version}.", as_json)


@app.command(hidden=True)
def gate(
    within: Annotated[float, typer.Option(parser=_seconds)] = 300.0,
    hold: Annotated[float, typer.Option(parser=_seconds)] = 30.0,
    config: ConfigPath = None,
) -> None:
    """Wait until all works that worked before the update; exit status 1 where it does not."""
    logs.to_stderr(False)
    from edgenode.config import read_essentials
    from edgenode.system import machine
    from edgenode.system.gate import Gate
    from edgenode.system.look import look
    from edgenode.system.record import kept

    record = kept(machine.STATE)
    run_dir = read_essentials(config or _default()).run_dir
    asked = Gate(record, time.monotonic(), within, hold)
    said: list[str] | None = None
    while True:
        verdict = asked.look(look(run_dir), time.monotonic())
        missing = list(verdict.missing)
        if missing != said:
            errors.print("; ".join(missing) or f"all is well: it has to stay so for {hold:g} s")
            said = missing
        if verdict.stays is True:
            return
        if verdict.stays is False:
            fail(f"this version does not do what the one before it did: {'; '.join(missing)}")
        time.sleep(_PAUSE)


@app.command(hidden=True)
def depart(config: ConfigPath = None) -> None:
    """The end of an update or a rollback, run by systemd."""
    from edgenode.config import read_essentials
    from edgenode.system import departure, machine

    with _refusals():
        departure.depart(read_essentials(config or _default()).state_dir, machine.STATE)


@app.command(hidden=True)
def forget(config: ConfigPath = None) -> None:
    """A drain for a reboot that did not end in order: run by systemd, before control starts."""
    from edgenode.config import read_essentials
    from edgenode.system import departure, machine

    departure.forget(read_essentials(config or _default()).state_dir, machine.STATE)


def _default() -> Path:
    from edgenode.cli.options import DEFAULT_CONFIG

    return DEFAULT_CONFIG


def _node(context: typer.Context, config: Path | None) -> Path | None:
    """Where control's socket is; None: the node is not provisioned, and announces nothing."""
    if not os.path.lexists(config_path(context, config)):
        return None
    return know(context, config).run_dir


def _record(node: Path | None) -> None:
    """What works now. A node that is off the air says less than it did before: that is kept."""
    from edgenode.system import machine, record
    from edgenode.system.gate import working
    from edgenode.system.look import look

    found = working(look(node or Path("/run/edgenode")))
    try:
        record.keep(machine.STATE, found)
    except OSError as error:
        raise UpdateError(f"{machine.STATE} cannot be written: {error.strerror}") from None


def _leave(
    node: Path | None, reason: str, within: float, force: bool, no_drain: bool, before: Any = None
) -> None:
    """Drain and reboot; `before` is done between the two."""
    from edgenode.api.client import call
    from edgenode.system import departure, machine

    # A connection that is lost, maybe because of the drain, ends nothing.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if node is not None and not no_drain:
        errors.print("edgenode: draining")
        departure.begin(machine.STATE)
        ask = partial(call, places.control_socket(node))
        departure.drain(ask, reason, within, force)
    try:
        if before is not None:
            before()
        departure.leave()
    except UpdateError:
        if node is not None and not no_drain:
            departure.announce_again(partial(call, places.control_socket(node)))
        raise


def _tell(version: str, what: str, text: str, as_json: bool) -> None:
    show({"version": version, "result": what}, as_json, lambda: console.print(text, markup=False))


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except UpdateError as error:
        fail(str(error))
