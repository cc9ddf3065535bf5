"""`edgenode worker`: a worker's host registers itself in etcd, drains, leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgenode import logs
from edgenode.cli.options import EXIT_USAGE, AsJson, console, fail, refuse_config, show
from edgenode.config import ConfigError

if TYPE_CHECKING:
    from edgenode.config.workerhost import WorkerHost
    from edgenode.registry.member import Member
    from edgenode.registry.records import WorkerId

DEFAULT = Path("/etc/edgenode/worker.toml")

app = typer.Typer(
    name="worker",
    help="""For a worker's host: be found by the edges, drain, leave.

The edges of a fleet with `[registry]` take their workers from etcd. These commands run on a
worker's host, with a configuration of its own: who it is, and how etcd is reached.
docs/provisioning.md has an example.
""",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

WorkerConfig = Annotated[
    Path,
    typer.Option(
        "--config", envvar="EDGENODE_WORKER_CONFIG", metavar="FILE", help="The worker's own."
    ),
]


def add_to(parent: typer.Typer) -> None:
    """Register the subcommands."""
    parent.add_typer(app, rich_help_panel="Workers")


@app.command()
def join(
    config: WorkerConfig = DEFAULT,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log each step.")] = False,
) -> None:
    """Register this host, and keep it registered: a service, in the foreground.

    Its record hangs on a lease: when this process or its host dies, etcd removes it after
    the configuration's `lease`. While etcd is away it tries for ever, and edges go on with what
    they know. It reports how busy the host is.

    SIGTERM drains (no new connections), waits for `drain_time`, then removes the record; a
    second SIGTERM does not wait.

    Exit status: 0 when it was told to stop; 1 where another one runs on this host; 2 where the
    configuration is wrong.
    """
    host = _load(config)
    logs.to_stderr(verbose)
    from edgenode.registry import joining
    from edgenode.registry.hoststate import HostState, HostStateError

    state = HostState(host.state_dir)
    try:
        if state.hold() is None:
            fail(f"another edgenode worker join runs on this host ({host.state_dir}/lock)")
        identity = state.identity()
    except HostStateError as error:
        fail(str(error))
    asyncio.run(joining.join(host, state, identity))
    logs.flush()


@app.command()
def drain(config: WorkerConfig = DEFAULT, as_json: AsJson = False) -> None:
    """Have the edges send no new connections here, until `edgenode worker undrain`.

    It is remembered over restarts of `join` and of the host.

    Exit status: 0 also where it is not registered now; 1 where etcd could not be told (it is
    remembered all the same, and `join` tells etcd when it can), or where it could not be
    remembered; 2 where the configuration is wrong.
    """
    _set_draining(config, True, as_json)


@app.command()
def undrain(config: WorkerConfig = DEFAULT, as_json: AsJson = False) -> None:
    """Take new connections again.

    Exit status: as that of `drain`; 2 also where the host drains by its configuration
    (`draining = true`).
    """
    _set_draining(config, False, as_json)


@app.command()
def leave(
    config: WorkerConfig = DEFAULT,
    region: Annotated[str | None, typer.Option(help="The region of another worker.")] = None,
    name: Annotated[str | None, typer.Option(help="The name of another worker.")] = None,
    identity: Annotated[
        str | None, typer.Option(help="The machine that is meant, as `join` says it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove one worker's record from etcd: the one of just this region, name and machine.

    `join` does so when it ends; this is for a host that did not end well, or is gone for good.
    A record of the same name that another machine has registered is left alone.

    For another worker than this host, `--region`, `--name` and `--identity` are needed, all three.

    Exit status: 0 also where there was nothing to remove; 1 where `join` runs here, etcd does not
    answer, or another machine has that name; 2 where the configuration or an option is wrong.

    Examples:

        edgenode worker leave

        edgenode worker leave --region fra --name fra-1 --identity 0f5c…
    """
    given = [each for each in (region, name, identity) if each is not None]
    if len(given) not in {0, 3}:
        fail("--region, --name and --identity go together: a worker is whom all three name", 2)
    host = _load(config)
    from edgenode.registry.hoststate import HostState, HostStateError
    from edgenode.registry.records import WorkerId

    who = WorkerId(region or host.region, name or host.name)
    try:
        state = HostState(host.state_dir)
        own = identity or state.identity()
        if not given and state.hold() is None:
            fail("edgenode worker join runs on this host: stop it, and it drains and leaves")
    except HostStateError as error:
        fail(str(error))
    there = _with_member(host, who, own, lambda member: member.leave())
    done = {"region": who.region, "name": who.name, "identity": own, "removed": there}
    text = f"{who} was removed" if there else f"{who} is not registered: nothing to remove"
    show(done, as_json, lambda: console.print(text, markup=False))


def _set_draining(config: Path, wanted: bool, as_json: bool) -> None:
    host = _load(config)
    from edgenode.registry.hoststate import HostState, HostStateError
    from edgenode.registry.records import WorkerId

    who = WorkerId(host.region, host.name)
    if host.draining and not wanted:
        fail(f"{config} has draining = true: take that out, and restart join", EXIT_USAGE)
    state = HostState(host.state_dir)
    try:
        state.drain(wanted)
        identity = state.identity()
    except HostStateError as error:
        fail(str(error))
    remembered = "it is remembered here all the same, and join tells etcd when it can"
    there = _with_member(
        host, who, identity, lambda member: member.set_draining(wanted), remembered
    )
    done = {"region": who.region, "name": who.name, "draining": wanted, "registered": there}
    what = "is draining" if wanted else "takes new connections"
    text = f"{who} {what}" if there else f"{who} is not registered; when it is, it {what}"
    show(done, as_json, lambda: console.print(text, markup=False))


def _with_member(
    host: WorkerHost,
    who: WorkerId,
    identity: str,
    act: Callable[[Member], Awaitable[bool]],
    consolation: str = "",
) -> bool:
    from edgenode.registry.answers import AnswerError
    from edgenode.registry.etcd import Etcd, EtcdError
    from edgenode.registry.member import Member, MemberError
    from edgenode.registry.records import Layout

    async def run() -> bool:
        etcd = Etcd(host.registry)
        try:
            return await act(Member(etcd, Layout(host.registry.prefix), who, identity))
        finally:
            await etcd.close()

    try:
        return asyncio.run(run())
    except (EtcdError, AnswerError, MemberError) as error:
        fail(f"{error}; {consolation}" if consolation else str(error))


def _load(config: Path) -> WorkerHost:
    from edgenode.config.workerhost import load_worker

    try:
        return load_worker(config)
    except ConfigError as error:
        refuse_config(error)
