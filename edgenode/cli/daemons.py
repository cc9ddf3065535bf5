"""`edgenode control`, `edgenode steering`, `edgenode lifeline`, `edgenode exec-runner`."""

from __future__ import annotations

import gc
from typing import Annotated

import typer

from edgenode import logs
from edgenode.cli.options import ConfigPath, config_path, fail, load_config, refuse_config
from edgenode.config import ConfigError

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log each step, not only events.")]


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    app.command(rich_help_panel="Daemons")(control)
    app.command(rich_help_panel="Daemons")(steering)
    app.command(rich_help_panel="Daemons")(lifeline)
    app.command("exec-runner", rich_help_panel="Daemons")(exec_runner)


def control(
    context: typer.Context,
    config: ConfigPath = None,
    verbose: Verbose = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Decide and log, and touch nothing: no BIRD, no lifeline, no steering, no mesh, "
            "no address, no hook. Checks and regions are probed. It may run beside the control "
            "that is at work.",
        ),
    ] = False,
) -> None:
    """Check health, decide, and announce: the node's brain.

    It needs BIRD's control socket, the lifeline, and the right to set addresses and routes
    (CAP_NET_ADMIN). It may be restarted at any time: within the lifeline's grace no route moves.

    SIGHUP, as `edgenode apply`, has it take up what the file says now. A file that is wrong, that
    was undone, or with which control did not come through its start, is not run unasked: the
    configuration that was confirmed last runs instead, and `status` says so.

    With `--dry-run` it only decides and logs: to try a configuration, beside the control that is
    at work if need be.

    SIGTERM ends it. The lifeline withdraws after its grace what no other control has taken over
    by then, except groups with `on_control_loss = "keep"`.
    """
    logs.to_stderr(verbose)
    gc.disable()  # its start is a part of the lifeline's grace
    from edgenode.control.process import ControlError, main

    gc.freeze()
    gc.enable()
    try:
        status = main(config_path(context, config), dry=dry_run)
    except ConfigError as error:
        refuse_config(error)
    except ControlError as error:
        fail(str(error))
    raise typer.Exit(status)


def steering(
    context: typer.Context,
    config: ConfigPath = None,
    verbose: Verbose = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Take over from the one that runs, go on in the background, and return when that "
            "is done. It fails where none runs, or where that one refuses and goes on. It logs to "
            "standard error ever after: give it a file, where that is a pipe.",
        ),
    ] = False,
) -> None:
    """Accept users' connections and relay each to the nearest healthy region.

    A supervisor and one relay worker per core. It takes its tables from control and serves from
    the last one, which it keeps on disk, for as long as control is away. Of the configuration it
    reads `run_dir`, `state_dir`, and of `[steering]` the number of workers and of connections and
    the access log's file; all else comes with the tables, by `edgenode apply`.

    Started while another one runs, as the same user, it takes over from that one with all
    connections, and that one ends. If it cannot, that one goes on.

    The access log has one JSON line a connection, and what its names mean is in docs/operating.md.
    SIGHUP opens it anew, after it was moved away. SIGTERM and SIGINT end it, and reset the users'
    connections: `edgenode drain` moves users away before. With EDGENODE_STEERING=interpreted in the
    environment the compiled form of the relay is not used, with =compiled no other is.

    Exit status: 0 when it was stopped, or another one has taken over; 1 where it cannot start or
    take over, with the reason in its log; 2 where the configuration is wrong.

    Examples:

        edgenode steering

        edgenode steering --replace 2>>/var/log/edgenode/steering.err
    """
    # It runs as a user of its own, which cannot read the others' secrets.
    loaded = load_config(context, config, check_secrets=False)
    on_taken = None
    if replace:
        from edgenode.steering.handover.background import detach

        on_taken = detach()
    logs.to_stderr(verbose)
    from edgenode.steering.supervisor import main

    status = main(
        loaded.node.run_dir,
        loaded.node.state_dir,
        loaded.steering.workers,
        loaded.steering.max_connections,
        loaded.steering.access_log.file,
        on_taken=on_taken,
    )
    logs.flush()  # why it could not start, above all
    raise typer.Exit(status)


def lifeline(config: ConfigPath = None) -> None:
    """Hold the TUN device that all announcements hang on, while control's heart beats.

    When control dies, or does not beat for `heartbeat_timeout`, the device is closed after
    `grace`; the kernel removes it, and BIRD withdraws every route that hangs on it. When this
    process dies the same happens at once. It reads `[lifeline]` and `run_dir` of the
    configuration, and loads nothing but the standard library.
    """
    raise AssertionError("dispatched before the libraries are loaded")


def exec_runner(
    context: typer.Context, config: ConfigPath = None, verbose: Verbose = False
) -> None:
    """Run the operators' exec checks and hooks for control, as a user that may do nothing else.

    Control asks for a check or hook by its name; the command is the one in this process's
    configuration, which is read again when the file changes. Where that is damaged, what it has
    read before serves, as it does for control. While it is away no exec check changes its state,
    and after 30 s of that they count as down.
    """
    logs.to_stderr(verbose)
    from edgenode.health.execrunner import main

    try:
        status = main(config_path(context, config))
    except ConfigError as error:
        refuse_config(error)
    logs.flush()
    raise typer.Exit(status)
